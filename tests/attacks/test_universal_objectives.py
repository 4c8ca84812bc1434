"""What universal recipes minimise, against literal versions; and victims whose weakness is known."""

import math
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from reid import attacks
from reid.attacks import Reference
from reid.attacks.universal import RECIPES
from reid.attacks.universal.clusters import ClusterRecipe, k_means
from reid.attacks.universal.muap import histogram_ap, total_variation
from reid.attacks.universal.recipes import Recipe
from reid.attacks.universal.step import KnownImages, meta_step
from reid.evaluation.detector import shared
from reid.models import Victim

OURS = ("nearest", "scattered", "hinge", "smooth_ap", "cosine", "collapse")
PUBLISHED = ("metaattack", "uap_retrieval", "muap", "query_uap")
PIDS = torch.arange(24) // 4


@pytest.fixture
def features():
    """Six people with four images each, apart from another but not far."""
    random = torch.Generator().manual_seed(0)
    people = torch.randn(6, 5, generator=random) + 3
    return people.repeat_interleave(4, dim=0) + 0.3 * torch.randn(24, 5, generator=random)


@pytest.fixture
def reference(features):
    return Reference(features, PIDS, torch.arange(24))


@pytest.fixture
def batch(features):
    """Clean features, perturbed ones and pids of a batch of two images of each of four people."""
    rows = torch.tensor([0, 1, 4, 6, 9, 10, 21, 23])
    moved = features[rows] + 0.5 * torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    return features[rows], moved, PIDS[rows]


def distance(a, b):
    return math.dist(a.tolist(), b.tolist())


def nearest(queries, pids, gallery):
    total = 0.0
    centres = {pid: gallery.features[gallery.pids == pid].mean(0) for pid in gallery.pids.tolist()}
    distances = [{pid: distance(query, centre) for pid, centre in centres.items()} for query in queries]
    width = 0.05 * sum(sum(each.values()) for each in distances) / (len(queries) * len(centres))
    for each, own in zip(distances, pids.tolist(), strict=True):
        soft = sum(math.exp(-d / width) for pid, d in each.items() if pid != own)
        total += -width * math.log(soft) - each[own]
    return total / len(queries)


def hinge(queries, pids, gallery):
    rows = [[distance(query, other) for other in gallery.features] for query in queries]
    margin = 0.3 * sum(map(sum, rows)) / (len(rows) * len(rows[0]))
    total = 0.0
    for row, own in zip(rows, pids.tolist(), strict=True):
        matches = [d for d, pid in zip(row, gallery.pids.tolist(), strict=True) if pid == own]
        strangers = sorted(d for d, pid in zip(row, gallery.pids.tolist(), strict=True) if pid != own)[:10]
        total += max(0, margin + sum(strangers) / len(strangers) - sum(matches) / len(matches))
    return total / len(rows)


def scattered(queries, pids, gallery):
    rows = [[distance(query, other) for other in gallery.features] for query in queries]
    middle = sum(map(sum, rows)) / (len(rows) * len(rows[0]))
    shares = [[math.exp(-d / (0.05 * middle)) for d in row] for row in rows]
    alike = [
        sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))
        for (one, own), (other, pid) in product(zip(shares, pids.tolist(), strict=True), repeat=2)
        if own != pid
    ]
    return nearest(queries, pids, gallery) + 3 * middle * sum(alike) / len(alike)


def smooth_ap(queries, pids, gallery):
    total = 0.0
    for query, own in zip(queries, pids.tolist(), strict=True):
        row = [distance(query, other) for other in gallery.features]
        width = 0.01 * sum(row) / len(row)
        matches = [i for i, pid in enumerate(gallery.pids.tolist()) if pid == own]

        def before(j, i, row=row, width=width):
            return 1 / (1 + math.exp(min(700, (row[j] - row[i]) / width)))

        for i in matches:
            of_own = 1 + sum(before(j, i) for j in matches if j != i)
            of_all = 1 + sum(before(j, i) for j in range(len(row)) if j != i)
            total += of_own / of_all / len(matches)
    return total / len(queries)


@pytest.mark.parametrize("side", ["query", "gallery", "both"])
@pytest.mark.parametrize("literal", [nearest, scattered, hinge, smooth_ap])
def test_rankings_are_those_of_the_side_that_is_attacked(literal, side, reference, batch):
    clean, perturbed, pids = batch
    queries = clean if side == "gallery" else perturbed
    gallery = reference if side == "query" else Reference(perturbed, pids, pids)
    value = RECIPES[literal.__name__].objective_on(reference, side)(*batch)
    assert value.item() == pytest.approx(literal(queries, pids, gallery), rel=1e-4)


def test_the_cosine_is_seen_from_the_middle_of_all(reference, batch):
    clean, perturbed = (each - reference.features.mean(0) for each in batch[:2])
    expected = sum(cosine_similarity(a, b, dim=0) for a, b in zip(clean, perturbed, strict=True)) / 8
    torch.testing.assert_close(RECIPES["cosine"].objective_on(reference)(*batch), expected)


def test_collapse_is_a_share_of_the_clean_spread(reference, batch):
    def spread(rows):
        return (rows - rows.mean(0)).pow(2).sum() / (len(rows) - 1)

    expected = spread(batch[1]) / spread(reference.features)
    torch.testing.assert_close(RECIPES["collapse"].objective_on(reference)(*batch), expected)


def test_k_means_finds_clusters_that_are_there(features):
    shuffled = features[torch.randperm(24, generator=torch.Generator().manual_seed(2))] * 3
    apart = shuffled.new_tensor([[0.0] * 5, [100.0] * 5])
    centres = k_means(torch.cat([shuffled, shuffled + apart[1]]), 2)
    torch.testing.assert_close(centres, shuffled.mean(0) + apart)


@pytest.mark.parametrize(("labelled", "stretch", "weight"), [(False, 10.0, 1.0), (True, 1.0, 10.0)])
def test_clusters_push_from_the_nearest_to_the_farthest(labelled, stretch, weight, reference, batch):
    recipe = ClusterRecipe(margin=0.8, stretch=stretch, weight=weight, labelled=labelled)
    centres = k_means(reference.features, 6)
    total = 0.0
    for clean, perturbed, _ in zip(*batch, strict=True):
        own, far = (choose(range(6), key=lambda i: distance(clean, centres[i])) for choose in (min, max))
        now = [distance(perturbed, centre) for centre in centres]
        total += weight * max(0, stretch * (now[far] - now[own]) + 0.8)
        total += labelled * max(0, min(d for i, d in enumerate(now) if i != own) - now[own])
    assert recipe.objective_on(reference)(*batch).item() == pytest.approx(total / 8, rel=1e-3)


def test_histograms_count_a_distance_in_the_two_bins_around_it(batch):
    clean, perturbed, pids = batch
    total = 0.0
    for query, own in zip(perturbed, pids, strict=True):
        found, right = [0.0] * 5, [0.0] * 5
        for other, pid in zip(clean, pids, strict=True):
            d = distance(query / query.norm(), other / other.norm())
            for i in range(5):
                share = max(0.0, 1 - abs(d - 0.5 * i) / 0.5)
                found[i] += share
                right[i] += share * (pid == own)
        parts = (right[i] * sum(right[: i + 1]) / max(sum(found[: i + 1]), 1e-30) for i in range(5))
        total += sum(parts) / (pids == own).sum()
    torch.testing.assert_close(histogram_ap(*batch), total / 8)


def test_total_variation_is_of_neighbours():
    image = torch.zeros(1, 3, 4, 2)
    image[:, :, 2:] = 0.6
    assert total_variation(image).item() == pytest.approx(10 * 0.6 / 3)
    assert total_variation(image.transpose(2, 3)).item() == pytest.approx(10 * 0.6 / 3)
    assert total_variation(torch.full((2, 3, 4, 2), 0.3)).item() == 0


def test_a_penalty_is_learnt_but_no_part_of_the_loss():
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    noise = attacks.create(2, eps_delta=8 / 255, height=4, width=4)
    optimizer = attacks.MISGD(noise.parameters(), lr=8 / 255)
    known = KnownImages(images, PIDS[:8], torch.zeros(8, 3))
    loss = meta_step(
        noise,
        lambda x: x.mean((2, 3)),
        known,
        None,
        optimizer,
        "none",
        objective=lambda clean, perturbed, pids: 0 * perturbed.sum() + 7,
        penalty=lambda x: x[:, 0].mean(),
    )
    assert loss["loss_tr"].item() == 7
    assert noise.delta[:, 0].unique().tolist() == pytest.approx([-8 / 255])
    assert not noise.delta[:, 1:].any()


def learnt(recipe, victim, images, pids, steps=40):
    noise = attacks.create(2, eps_delta=8 / 255, height=6, width=4)
    optimizer = recipe.optimizer(noise.step_groups(recipe.fraction))
    clean = victim(images)
    objective = recipe.objective_on(Reference(clean, pids, pids))
    for _ in range(steps):
        meta_step(noise, victim, KnownImages(images, pids, clean), None, optimizer, "none", objective=objective)
    return noise


@pytest.fixture
def people():
    random = torch.Generator().manual_seed(3)
    colours = torch.rand(6, 3, 1, 1, generator=random) * 0.3 + 0.35
    return colours.repeat_interleave(4, dim=0) + 0.02 * torch.randn(24, 3, 6, 4, generator=random)


def test_a_linear_victim_is_pushed_to_the_corner(people):
    """A mean of features that is linear in the image is lowest where delta is minus the signs of its weights."""
    weights = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(4))
    victim = Victim(lambda x: torch.stack([(x * weights).sum((1, 2, 3)), x.mean((1, 2, 3))], 1))
    recipe = Recipe(lambda clean, perturbed, pids: perturbed[:, 0].mean())
    noise = learnt(recipe, victim, people, PIDS)
    torch.testing.assert_close(noise.delta[0], -8 / 255 * weights.sign())


class Fading(nn.Module):
    """Mean colours, which a hidden pattern takes away: at 8/255 nothing of them is left."""

    def __init__(self):
        super().__init__()
        self.register_buffer("pattern", torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(5)).sign())
        self.pattern -= self.pattern.mean((1, 2), keepdim=True)

    def forward(self, x):
        along = (x * self.pattern).mean((1, 2, 3)) / (self.pattern.abs().mean() * 8 / 255)
        return x.mean((2, 3)) * (1 - along).clamp(0, 1)[:, None]


@pytest.mark.parametrize("name", ["nearest", "hinge", "smooth_ap", "collapse"])
def test_a_planted_weakness_is_found(name, people):
    """Where the pattern takes all away, everybody looks alike: that is at least 95 % of what can be won."""
    victim = Victim(Fading())
    noise = learnt(RECIPES[name], victim, people, PIDS)
    spread = [victim(images).var(dim=0).sum().item() for images in (people, noise(people).detach())]
    assert spread[1] < 0.05 * spread[0]


def test_scattered_gives_up_wrong_answers_for_fewer_that_are_shared(people):
    torch.manual_seed(0)
    victim = Victim(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()))
    own, common = {}, {}
    for name in ("nearest", "scattered"):
        features = victim(learnt(RECIPES[name], victim, people, PIDS)(people).detach())
        first = torch.cdist(features, victim(people)).topk(4, largest=False).indices
        own[name] = (PIDS[first] == PIDS[:, None]).double().mean().item()
        common[name] = shared(first[None, ::4].numpy()).item()
    assert own["nearest"] < own["scattered"] < 0.7
    assert common["scattered"] < 0.5 * common["nearest"]


@pytest.mark.parametrize("name", [*OURS, *PUBLISHED])
def test_every_recipe_lowers_what_it_minimises(name, people):
    torch.manual_seed(0)
    victim = Victim(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()))
    recipe = replace(RECIPES[name], meta="none")
    clean = victim(people)
    objective = partial(recipe.objective_on(Reference(clean, PIDS, PIDS)), clean, pids=PIDS)
    noise = learnt(recipe, victim, people, PIDS)
    before, after = (objective(victim(images)) for images in (people + 1e-4, noise(people).detach()))
    assert after < before


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_are_short_and_say_what_was_published(name):
    place = attacks.universal.__path__[0]
    with open(f"{place}/{name}.py") as file:
        text = file.read()
    assert len(text.splitlines()) <= 60
    assert "Published" in text
    assert " @ " in text
