"""Attacks learnt on the model under evaluation: the best iterate, convergence, restarts, budgets, and kept files."""

from dataclasses import replace
from functools import partial
from itertools import combinations

import pytest
import torch
from PIL import Image
from ranks import together
from torch import nn

from reid import attacks
from reid.attacks import Threat
from reid.attacks.image.pgd import PGD
from reid.attacks.universal import RECIPES
from reid.attacks.universal.learn import Learner
from reid.attacks.universal.objectives import pull_farthest
from reid.datasets import Sample
from reid.errors import ReidError, UsageError
from reid.evaluation.effort import Effort
from reid.evaluation.experiment import _checks
from reid.evaluation.kinds import RELEARNT, SEARCH
from reid.evaluation.relearning import Relearning, Source, askers, divided
from reid.evaluation.rows import CLEAN_ROW, Row
from reid.loading import Images, to_images
from reid.models import Victim
from reid.runtime import distributed
from reid.runtime.device import resolve
from reid.runtime.files import sha256

CPU = resolve("cpu", "fp32")
THREAT = Threat(6 / 255, 4 / 255)
EFFORT = Effort(restarts=2, adaptive_epochs=2, adaptive_iters=2, batch_size=8, num_instances=4)


@pytest.fixture
def samples(draw):
    """People who can be told apart: each has a colour, under noise."""
    made = draw(16, 8)
    for sample in made:
        colour = Image.new("RGB", (8, 16), tuple(40 + 170 * (sample.pid >> bit & 1) for bit in range(3)))
        Image.blend(colour, Image.open(sample.path).convert("RGB"), 0.4).save(sample.path)
    return made


@pytest.fixture
def base(samples, tmp_path):
    """What a Relearning is made from."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return {
        "victim": Victim(body, sha256="a hash"),
        "source": Source("synth-a", samples),
        "images": Images(16, 8, workers=1),
        "effort": EFFORT,
        "compute": CPU,
        "seed": 5,
        "folder": tmp_path / "attackers",
    }


def learnt(base, noise_type=0, threat=THREAT, reuse=False, recipe="none", effort=None, **changes):
    """The rows of a Relearning, with some of what it is made from and some of its effort changed."""
    settings = base | {"effort": replace(base["effort"], **(effort or {}))} | changes
    return list(Relearning(**settings).rows([recipe], [(noise_type, threat)], reuse))


def files(base):
    return sorted(base["folder"].iterdir())


def parameters(row):
    return dict(row.attack.named_parameters())


def same(first, second):
    return all(torch.equal(value, parameters(second)[name]) for name, value in parameters(first).items())


def with_scores(monkeypatch, scores):
    """Let each epoch move every parameter by one, and the images held out have these mAP in turn."""
    left, moved = [], []

    def epoch(self, number):
        moved.append(self.noise.layer_01.delta.max().item())
        with torch.no_grad():
            for parameter in self.noise.parameters():
                parameter.add_(1e-3)

    def score(self, noise, recipe):
        if not left or not noise.layer_01.delta.any():
            left[:] = scores
        return left.pop(0)

    monkeypatch.setattr(Learner, "epoch", epoch)
    monkeypatch.setattr(Learner, "wide_step", lambda self: None)
    monkeypatch.setattr(Relearning, "_score", score)
    return moved


def test_an_epoch_begins_at_the_best_iterate_which_is_kept(base, monkeypatch, caplog):
    caplog.set_level("INFO")
    moved = with_scores(monkeypatch, [0.9, 0.8, 0.85, 0.7, *[0.75] * 5, 0.1])
    (row,) = learnt(base, effort={"adaptive_epochs": 20, "restarts": 1})
    assert moved == pytest.approx([0, 1e-3, 1e-3, *[2e-3] * 5])  # from the best so far, and no ninth epoch
    assert row.provenance["held_out"] == [0.9, 0.8, 0.85, 0.7, *[0.75] * 5]
    assert row.provenance["kept_epoch"] == 3
    assert row.attack.layer_01.delta.unique().tolist() == pytest.approx([2e-3])
    assert "mAP of identities held out 70.0 after 8 epochs, the second half of which gained 0.0" in caplog.text


def test_a_recipe_may_pay_for_what_lists_share(base):
    relearning, noise = Relearning(**base), attacks.create(2, eps_delta=8 / 255, height=16, width=8)
    retrieval = relearning._held_out
    lists = retrieval.rank_list(retrieval.query, *retrieval.clean, 10).places.tolist()
    common = [len({*one} & {*other} - {-1}) for one, other in combinations(lists, 2)]
    free, paying = (relearning._score(noise, replace(RECIPES["none"], price_of_shared=price)) for price in (0.0, 2.0))
    assert free == retrieval.score().ranking.mAP
    assert paying == pytest.approx(free + 2 * sum(common) / len(common) / 10)
    assert sum(common)


@pytest.mark.parametrize(("recipe", "words"), [("scattered", "mAP + 10 x shared"), ("none", "mAP")])
def test_what_iterates_are_chosen_by_is_said(recipe, words, base, caplog):
    caplog.set_level("INFO")
    (row,) = learnt(base, recipe=recipe, effort={"restarts": 1, "adaptive_epochs": 1})
    (_, check) = _checks(row, row.attack.measure(torch.rand(1, 3, 16, 8)), THREAT.to_dict())
    assert f"restart 1: {words} of identities held out" in caplog.text
    assert check["detail"].startswith(f"{words} of identities held out")


def test_more_epochs_never_give_a_weaker_attack(base):
    scores = [learnt(base, effort={"restarts": 1, "adaptive_epochs": n})[0].provenance["held_out"] for n in (1, 3, 6)]
    assert scores[0] == scores[1][:2]
    assert min(scores[0]) >= min(scores[1]) >= min(scores[2])


@pytest.mark.parametrize(("lowest", "passed"), [(0.60, True), (0.56, True), (0.549, False)])
def test_a_restart_far_above_the_best_one_has_not_converged(lowest, passed, base, monkeypatch):
    with_scores(monkeypatch, [0.9, 0.61, 0.6, 0.6, 0.6])
    (row,) = learnt(base, effort={"adaptive_epochs": 4, "restarts": 1})
    assert row.provenance["lowest_of_restarts"] == 0.6
    row.provenance["lowest_of_restarts"] = lowest
    (_, check) = _checks(row, row.attack.measure(torch.rand(1, 3, 16, 8)), THREAT.to_dict())
    assert (check["name"], check["passed"]) == ("converged", passed)
    words = f"60.0 after 4 epochs, the second half of which gained 0.0; best restart {100 * lowest:.1f}"
    assert check["detail"] == f"mAP of identities held out {words}"


def test_all_restarts_know_the_best_one(base):
    rows = learnt(base, effort={"restarts": 3})
    lowest = min(min(row.provenance["held_out"]) for row in rows)
    assert [row.provenance["lowest_of_restarts"] for row in rows] == [lowest] * 3


def test_an_attack_that_was_not_learnt_has_only_its_budget_checked():
    row = Row("pgd", "image", PGD(steps=1))
    spent = dict.fromkeys(("color", "delta", "total", "total_8bit"), 0.0)
    assert [check["name"] for check in _checks(row, spent, row.attack.threat.to_dict())] == ["budget"]
    assert _checks(CLEAN_ROW, {}, {}) == []


class TestDivided:
    def of(self, identities, needed):
        samples = [Sample(f"{pid}-{i}.png", pid, i) for pid in range(identities) for i in range(3)]
        learn, select = divided(samples, needed, seed=1)
        return samples, learn, select

    @pytest.mark.parametrize(("identities", "needed", "held"), [(100, 8, 10), (30, 8, 3), (12, 8, 2), (10, 8, 2)])
    def test_holds_out_a_tenth_of_the_identities_and_two_at_least(self, identities, needed, held):
        samples, learn, select = self.of(identities, needed)
        assert len({s.pid for s in select}) == held
        assert not {s.pid for s in learn} & {s.pid for s in select}
        assert sorted([*learn, *select], key=samples.index) == samples

    @pytest.mark.parametrize(("identities", "needed"), [(9, 8), (3, 2), (3, 1), (2, 1)])
    def test_chooses_on_all_where_too_few_would_be_left_and_says_so(self, identities, needed, caplog):
        samples, learn, select = self.of(identities, needed)
        assert learn == select == samples
        assert f"{identities} identities are too few to hold some out" in caplog.text

    def test_has_an_identity_for_each_process(self, monkeypatch):
        monkeypatch.setattr(distributed, "size", lambda: 4)
        assert len({s.pid for s in self.of(20, 8)[2]}) == 4

    def test_depends_on_the_seed(self):
        samples = [Sample(f"{pid}.png", pid, 0) for pid in range(100)]
        one, again, other = (divided(samples, 8, seed)[1] for seed in (1, 1, 2))
        assert one == again != other


@pytest.mark.parametrize("identities", [4, 10])
def test_the_steps_do_not_see_the_identities_that_choose(identities, base, samples, tmp_path, monkeypatch):
    people = [replace(samples[i % 12], pid=i // 3) for i in range(3 * identities)]
    relearning = Relearning(**base | {"source": Source("synth-a", people)})
    learn, select = ({s.pid for s in part} for part in relearning._divided)
    assert len(learn) == identities - 2
    assert len(select) == 2
    assert {s.pid for s in relearning._held_out.query.samples} == select
    assert {s.pid for s in relearning._held_out.gallery.samples} == learn | select
    seen, real = set(), Learner.epoch

    def watching(self, number):
        for batch in self.source.epoch(0):
            seen.update(batch.pids.tolist())
        return real(self, number)

    monkeypatch.setattr(Learner, "epoch", watching)
    list(relearning.rows(["none"], [(2, THREAT)], reuse=False))
    assert seen <= learn


def test_those_who_are_seen_by_one_camera_may_find_themselves():
    two = [Sample("a.png", 1, 0), Sample("b.png", 1, 1), Sample("c.png", 2, 0)]
    one = [replace(sample, camid=3) for sample in two]
    assert askers(two) == two
    assert {sample.camid for sample in askers(one)} == {-1}


def test_the_first_restart_begins_at_the_identity_and_the_others_anywhere_in_the_budget(base, monkeypatch):
    monkeypatch.setattr(Learner, "epoch", lambda self, number: {})
    monkeypatch.setattr(Learner, "wide_step", lambda self: None)
    first, second, third = learnt(base, effort={"restarts": 3})
    images = torch.rand(4, 3, 16, 8)
    assert first.attack.measure(images)["total"] == 0
    for other in (second, third):
        assert 0.9 * THREAT.eps_delta < parameters(other)["layer_01.delta"].abs().max() <= THREAT.eps_delta
        assert 0.5 * THREAT.eps_color < other.attack.measure(images)["color"] <= THREAT.eps_color + 1e-6
    assert not same(second, third)


@pytest.mark.parametrize("noise_type", [0, 1, 2])
def test_what_is_learnt_lowers_the_loss_within_the_budget(noise_type, base, samples):
    images = to_images(base["images"].store(samples).batch(range(len(samples))), CPU.device)
    pids = torch.tensor([sample.pid for sample in samples])
    clean = base["victim"](images)
    for row in learnt(base, noise_type, effort={"adaptive_epochs": 3, "adaptive_iters": 8}):
        perturbed = base["victim"](row.attack(images))
        assert pull_farthest(clean, perturbed, pids) < pull_farthest(clean, clean, pids)
        spent = row.attack.measure(images)
        for component, types in (("color", (0, 1)), ("delta", (0, 2))):
            assert (spent[component] > 0) == (noise_type in types)
            assert spent[component] <= getattr(THREAT, f"eps_{component}") + 1e-6


@pytest.mark.parametrize("noise_type", [0, 1, 2])
def test_each_restart_is_kept_as_an_attacker_file_of_the_same_threat(noise_type, base):
    rows = learnt(base, noise_type)
    assert [path.name.rpartition("-")[0] for path in files(base)] == [
        f"relearnt-type{noise_type}-restart{restart}" for restart in (1, 2)
    ]
    for restart, (row, path) in enumerate(zip(rows, files(base), strict=True), 1):
        assert row.name == f"re-learnt type {noise_type}, restart {restart} of 2"
        assert (row.kind, row.sha256, row.settings) == (RELEARNT, sha256(path), {"recipe": "none"})
        loaded = attacks.load(path)
        threat = attacks.create(noise_type, THREAT.eps_color, THREAT.eps_delta).threat
        assert (loaded.noise_type, loaded.threat) == (noise_type, threat)
        assert loaded.provenance["victim_sha256"] == "a hash"
        assert same(row, Row("loaded", RELEARNT, loaded))


def test_the_same_seed_gives_the_same_files_and_another_seed_others(base, tmp_path):
    folders = {name: tmp_path / name for name in ("first", "again", "other")}
    rows = {name: learnt(base, folder=folder) for name, folder in folders.items() if name != "other"}
    rows["other"] = learnt(base, folder=folders["other"], seed=6)
    contents = {name: {p.name: sha256(p) for p in folder.iterdir()} for name, folder in folders.items()}
    assert all(same(a, b) for a, b in zip(rows["first"], rows["again"], strict=True))
    assert not any(same(a, b) for a, b in zip(rows["first"], rows["other"], strict=True))
    assert not contents["first"].keys() & contents["other"].keys()
    assert contents["first"] == contents["again"]


def test_a_restart_does_not_depend_on_how_many_others_there_are(base):
    few, many = (learnt(base, effort={"restarts": restarts}) for restarts in (2, 3))
    assert len(files(base)) == 3
    assert same(few[0], many[0])
    assert same(few[1], many[1])


def test_reuse_takes_files_that_exist_and_learns_the_others(base):
    before = learnt(base)
    times = {path: path.stat().st_mtime_ns for path in files(base)}
    after = learnt(base, effort={"restarts": 3}, reuse=True)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert [a.sha256 for a in after[:2]] == [b.sha256 for b in before]
    assert len(files(base)) == 3
    learnt(base)
    assert all(path.stat().st_mtime_ns > then for path, then in times.items())


def test_everything_that_changes_what_is_learnt_gives_another_file(base, samples):
    other_victim = Victim(base["victim"].model, sha256="another hash")
    virtual = Source("synth-virtual", samples)
    learnt(base)
    learnt(base, noise_type=2)
    learnt(base, threat=Threat(6 / 255, 5 / 255))
    learnt(base, victim=other_victim)
    learnt(base, source=Source("synth-a", samples[:9]))
    learnt(base, seed=6)
    learnt(base, effort={"adaptive_epochs": 1})
    learnt(base, effort={"adaptive_iters": 1})
    learnt(base, effort={"batch_size": 4, "num_instances": 2})
    learnt(base, images=Images(8, 8, workers=1))
    learnt(base, virtual=virtual)
    learnt(base, virtual=virtual, recipe="maml")
    learnt(base, virtual=Source("synth-virtual", samples[3:]), recipe="maml")
    learnt(base, threat=replace(THREAT, side="both"))
    assert len(files(base)) == 2 * 14
    learnt(base, images=Images(16, 8, workers=2, cache="none"))
    assert len(files(base)) == 2 * 14


def test_other_pixels_under_the_same_names_give_another_file(base, samples):
    """Or --reuse would take an attack that was learnt on other images."""
    learnt(base)
    for sample in samples:
        image = Image.open(sample.path)
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(sample.path)
    learnt(base, reuse=True)
    assert len(files(base)) == 2 * 2


class TestRecipes:
    @pytest.mark.parametrize("recipe", ["maml", "alternating"])
    def test_with_a_meta_mode_test_on_the_virtual_set(self, recipe, base, samples):
        rows = learnt(base, recipe=recipe, virtual=Source("synth-virtual", samples))
        assert rows[0].name == f"re-learnt type 0 by {recipe}, restart 1 of 2"
        assert rows[0].settings == {"recipe": recipe}
        assert not same(rows[0], learnt(base)[0])

    def test_with_a_meta_mode_are_refused_without_one(self, base):
        with pytest.raises(UsageError, match="needs a virtual dataset to meta-test on"):
            learnt(base, recipe="maml")

    def test_that_nobody_knows_are_refused(self, base):
        with pytest.raises(UsageError, match="no universal recipe is called 'mamel'; did you mean maml"):
            learnt(base, recipe="mamel")

    def test_of_a_model_without_gradients_are_refused(self, base):
        with pytest.raises(UsageError, match=r"gives no gradients.*take --recipe query_uap"):
            learnt(base, victim=Victim(lambda x: x.detach().mean((2, 3))))

    def test_that_need_none_see_scores_alone(self, base, tmp_path):
        seen = base["victim"]
        blind = Victim(lambda images: seen(images).detach(), sha256="a hash")
        found = [learnt(base, recipe="query_uap", victim=v, folder=tmp_path / v.arch) for v in (seen, blind)]
        for row, other in zip(*found, strict=True):
            assert (row.kind, row.settings) == (SEARCH, {"recipe": "query_uap"})
            assert same(row, other)
            assert row.provenance["passes"]["backward"] == 0 < row.provenance["passes"]["forward"]


def test_a_loss_that_is_not_finite_is_refused(base, monkeypatch):
    monkeypatch.setattr(Relearning, "_score", lambda self, noise, recipe: 1.0)
    with pytest.raises(ReidError, match="loss_tr became nan at epoch 1, iteration 1"):
        learnt(base, victim=Victim(lambda x: x.mean((2, 3)) * (torch.nan if len(x) > 3 else 1.0)))  # tried on fewer


def rows_of(folder, samples, recipe):
    """Names, losses and parameters of the rows that this process learns, with the others."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    source = Source("synth-a", samples)
    relearning = Relearning(
        Victim(body, sha256="a hash"), source, Images(16, 8, workers=1), EFFORT, CPU, seed=5, folder=folder
    )
    rows = list(relearning.rows([recipe], [(0, THREAT)], reuse=False))
    return [(row.name, row.provenance["held_out"], row.attack.state_dict()) for row in rows]


@pytest.mark.parametrize("recipe", ["none", "query_uap"])
def test_two_processes_learn_and_choose_the_same(recipe, samples, tmp_path):
    people = [replace(samples[i % 12], pid=i // 3) for i in range(30)]
    alone = rows_of(tmp_path / "alone", people, recipe)
    for number, (rows,) in enumerate(together(2, [partial(rows_of, tmp_path / "both", people, recipe)], tmp_path)):
        for (name, scores, state), (name_alone, scores_alone, state_alone) in zip(rows, alone, strict=True):
            assert name == name_alone
            assert scores == pytest.approx(scores_alone, rel=1e-4), number
            for key, value in state.items():
                torch.testing.assert_close(value, state_alone[key], rtol=0, atol=1e-6)
    assert len(list((tmp_path / "both").iterdir())) == 2


def test_the_first_step_is_along_the_gradients_of_a_whole_epoch(base):
    relearning = Relearning(**base | {"effort": replace(EFFORT, adaptive_iters=3)})
    noise = attacks.create(2, eps_delta=4 / 255, height=16, width=8)
    learner = Learner(noise, *relearning._batches(7), RECIPES["none"])
    total = torch.zeros_like(noise.delta)
    for batch in learner.source.epoch(0):
        loss = pull_farthest(batch.clean_features, base["victim"](noise(batch.images)), batch.pids)
        (gradient,) = torch.autograd.grad(loss, noise.delta)
        total += gradient / gradient.abs().sum()
    optimizer = learner.optimizer
    learner.wide_step()
    torch.testing.assert_close(noise.delta.data, -0.4 / 255 * total.sign())
    assert learner.optimizer is optimizer
    assert not optimizer.state
