"""One, two and four processes with the same whole batch: the same gradients, perturbations, images and scores.

Every test compares the numbers that a job gives on two and, where it takes little time, on four processes with those
that it gives on one.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ranks import together
from small_sets import drawn
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from reid import attacks, models
from reid.attacks import MISGD, Threat, controls
from reid.attacks.image.pgd import PGD
from reid.attacks.universal.learn import Learner, clean_batches
from reid.attacks.universal.recipes import MAML
from reid.attacks.universal.step import KnownImages, meta_step
from reid.datasets import Sample
from reid.defenses import DEFENSES
from reid.defenses.meta import Meta
from reid.evaluation import Retrieval
from reid.evaluation.distances import cosine
from reid.evaluation.features import extract
from reid.evaluation.rerank import k_reciprocal
from reid.loading import Images
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.runtime.snapshot import Run
from reid.training import ReidLoss, Schedule, Trainer, TrainingSet
from reid.training.adversaries.base import Mixture
from reid.training.adversaries.per_image import PerImage
from reid.training.adversaries.universal import Online, Pool
from reid.training.batches import TrainingBatch, with_perturbed
from reid.training.inner import Inner
from reid.training.layers import SharedDropout, SyncedBatchNorm, synchronise
from reid.training.step import step_gradients
from reid.training.view import View

EPS = 8 / 255
HEIGHT, WIDTH = 32, 16
IMAGES = Images(HEIGHT, WIDTH, workers=1)
CPU = Compute(torch.device("cpu"), "fp32")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(count, seed, dtype=torch.float64):
    return torch.rand(count, 3, HEIGHT, WIDTH, generator=generator(seed), dtype=dtype)


class Small(nn.Module):
    """A network with everything that looks at the whole batch, in float64: there, rounding hides no mistake."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, bias=False), nn.BatchNorm2d(6), nn.Tanh(), nn.Conv2d(6, 8, 3, 2, bias=False)
        )
        self.bn, self.dropout, self.head = nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 4)
        self.double()

    def forward(self, images):
        features = self.body(images).mean((2, 3))
        return features, self.head(self.dropout(self.bn(features)))


def defence_steps():
    """Gradients of the weights and of all perturbed images, losses, and running statistics after each kind of step."""
    found = {}
    for kind in ("one set", "two sets", "first", "second"):
        network = Small()
        weights = dict(network.named_parameters())
        labels = torch.arange(16) // 4
        clean = distributed.share(labels)
        synchronise(network, len(clean))

        def loss_of(at, batch, network=network):
            outputs = (*functional_call(network, at, (batch.images,)), batch.labels)
            features, logits, labels = map(distributed.gather, outputs)
            return torch.cdist(features, features).logsumexp((0, 1)) + cross_entropy(logits, labels)

        source, virtual = (
            TrainingBatch(
                images := distributed.share(random_images(16, seed)),
                distributed.share(random_images(8, seed + 1)).requires_grad_(),
                torch.cat([clean, clean[::2]]),
                images,
            )
            for seed in (0, 2)
        )
        inner = Inner(dict.fromkeys(weights, 0.1), 0.01, kind) if kind in ("first", "second") else None
        torch.manual_seed(1)
        step = step_gradients(loss_of, weights, source, None if kind == "one set" else virtual, inner)
        found |= {f"{kind}: gradient of {name}": gradient for name, gradient in step.gradients.items()}
        found |= {f"{kind}: {name}": loss for name, loss in step.losses.items()}
        found |= {f"{kind}: images {i}": distributed.gather(g) for i, g in enumerate(step.image_gradients)}
        found |= {f"{kind}: {name}": value for name, value in network.named_buffers()}
    return found


def attack_steps():
    """Losses, perturbation and momentum after three meta steps of each kind."""
    victim = Small().eval().requires_grad_(False)
    found = {}
    for noise_type in (0, 1, 2):
        for mode in ("maml", "alternating", "none"):
            noise = attacks.create(noise_type, EPS, EPS, HEIGHT, WIDTH).double()
            optimizer = MISGD(noise.step_groups(), lr=0.0)
            for step in range(3):
                batches = []
                for seed in (2 * step, 2 * step + 1):
                    images = random_images(16, seed)
                    batches.append(KnownImages(distributed.share(images), torch.arange(16) // 4, victim(images)[0]))
                losses = meta_step(noise, lambda images: victim(images)[0], *batches, optimizer, mode)
            here = f"type {noise_type}, {mode}"
            found |= {f"{here}: {name}": loss for name, loss in losses.items()}
            found |= {f"{here}: {name}": value for name, value in noise.state_dict().items()}
            found |= {f"{here}: momentum {i}": s["accumulator"] for i, s in enumerate(optimizer.state.values())}
    return found


def adversaries_in_training():
    """Perturbed images of adversaries that share batches, and what the one that learns has learnt from them."""
    model = models.create("resnet10", 4, seed=0)
    frozen = Pool([controls.random_both(Threat(EPS, EPS), seed, HEIGHT, WIDTH) for seed in (0, 1)])
    found = {}
    for count in (24, 8):  # with the few, some adversaries have no image on some processes
        online = Online(attacks.create(0, EPS, EPS, HEIGHT, WIDTH), seed=0)
        mixture, random = Mixture([frozen, online, PerImage(model, EPS, steps=1)]), generator(7)
        made, gradients = [], []
        for seed in (0, 1):
            images = distributed.share(random_images(count, seed, torch.float32))
            batch, perturbed = with_perturbed(drawn(images, torch.arange(len(images))), mixture, random, False)
            made.append(perturbed)
            gradients.append(distributed.share(random_images(count // 2, seed + 2, torch.float32) - 0.5))
            found[f"{count} images, batch {seed}"] = distributed.gather(batch.perturbed.detach())
        mixture.learn(made, gradients)
        found |= {f"{count} images: {name}": value for name, value in online.noise.state_dict().items()}
        found[f"{count} images: drawn next"] = torch.rand(3, generator=random)
    return found


def network_in_float32():
    """Loss and gradient of a whole resnet10 in training mode, which computes its activations twice."""
    model = models.create("resnet10", 4, seed=0)
    model.recompute_activations = True
    synchronise(model, 8 // distributed.size())
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    labels = distributed.share(torch.arange(8) // 2)

    def loss_of(at, batch):
        outputs = (*functional_call(model, at, (batch.images,)), batch.labels)
        return ReidLoss()(*map(distributed.gather, outputs))[0]

    images = distributed.share(random_images(8, 0, torch.float32))
    torch.manual_seed(1)
    step = step_gradients(loss_of, weights, TrainingBatch(images, None, labels, images))
    return {"loss": step.losses["loss_tr"]} | step.gradients | dict(model.named_buffers())


def samples(folder):
    """48 images of 8 people, three cameras."""
    return [Sample(str(folder / f"{i:02d}.png"), i // 6, i % 3) for i in range(48)]


def training_batches(folder):
    """Indices, images and labels of an epoch."""
    data = TrainingSet("own", samples(folder), IMAGES, batch_size=16, num_instances=4, seed=3)
    found = {}
    for i, (indices, images, labels, _) in enumerate(data.epoch(1, 3, CPU.device)):
        found |= {f"indices {i}": torch.tensor(indices), f"labels {i}": distributed.gather(labels)}
        found[f"images {i}"] = distributed.gather(images)
    return found


def learnt(folder):
    """A perturbation learnt for an epoch on a whole resnet10 in float32."""
    victim = models.Victim(models.create("resnet10", 4, seed=0))
    store = IMAGES.store(samples(folder))
    batches = [clean_batches("own", store, victim, CPU, 8, 2, seed, 1, 2) for seed in (0, 1)]
    noise = attacks.create(0, EPS, EPS, HEIGHT, WIDTH)
    losses = Learner(noise, *batches, MAML).epoch(0)
    return noise.state_dict() | {name: torch.tensor(value) for name, value in losses.items()}


def trained(folder):
    """Losses and model after an epoch of the meta-learned defence with three adversaries that share each batch."""
    model = models.create("resnet10", 8, seed=0)
    frozen = Pool([controls.random_both(Threat(EPS, EPS), 0, HEIGHT, WIDTH)])
    online = Online(attacks.create(0, EPS, EPS, HEIGHT, WIDTH), seed=0)
    sets = [TrainingSet("own", samples(folder), IMAGES, batch_size=16, num_instances=4, seed=seed) for seed in (0, 1)]
    adversary = Mixture([frozen, online, PerImage(model, EPS, 1)])
    schedule = Schedule(1, 2, 1e-5, shape="late")
    trainer = Trainer(model, Meta("second"), sets, schedule, ReidLoss(), CPU, 2, adversary)
    losses = trainer._epoch(0, Run(Path("not written"), None, {}))
    found = {name: torch.tensor(value) for name, value in losses.items()}
    return found | trainer.network.state_dict() | {f"online {k}": v for k, v in online.noise.state_dict().items()}


def driven(folder):
    """Losses, model and its average after an epoch of defences whose adversaries have an aim."""
    found = {}
    for name, alone in (("anchored", 0), ("gallery", 0), ("anchored", 1), ("gallery", 1)):
        model = models.create("resnet10", 8, seed=0)
        online = Online(attacks.create(0, EPS, EPS, HEIGHT, WIDTH), seed=0)
        sets = [
            TrainingSet("own", samples(folder), IMAGES, batch_size=16, num_instances=4, seed=seed) for seed in (0, 1)
        ]
        # where all images are attacked, PGD alone would make rounding visible: it takes signs
        adversary = online if alone else Mixture([online, PerImage(model, EPS, 1)])
        schedule = Schedule(1, 2, 1e-5, shape="late", ema=0.5, only_perturbed=alone)
        trainer = Trainer(model, DEFENSES[name](look_ahead=True), sets, schedule, ReidLoss(), CPU, 2, adversary)
        here = {
            loss: torch.tensor(value) for loss, value in trainer._epoch(0, Run(Path("not written"), None, {})).items()
        }
        here |= trainer.network.state_dict() | {f"average {k}": v for k, v in trainer.average.state_dict().items()}
        here |= {f"online {k}": v for k, v in online.noise.state_dict().items()}
        found |= {f"{name} {alone}: {key}": value for key, value in here.items()}
        if trainer.known:
            found["centroids"] = trainer.known.of(False).features
    return found


def scored(folder):
    """Features and scores, clean and under attack, by each kind of distance."""
    victim = models.Victim(models.create("resnet10", 4, seed=0))
    sides = IMAGES.stores((samples(folder)[::4], samples(folder)))
    noise, pgd = controls.random_both(Threat(EPS, EPS), 0, HEIGHT, WIDTH), PGD(eps=EPS, steps=1)
    found = {}
    for batch_size, attack in ((5, pgd), (64, noise)):  # ten batches, and one, which not all can have a part of
        extracted = extract(victim, sides[1], CPU, batch_size, attack)
        found[f"features {batch_size}"] = extracted.features
        found |= {f"spent {name} {batch_size}": value for name, value in extracted.spent.items()}
        found |= {f"{name} passes {batch_size}": value for name, value in vars(extracted.passes).items()}
    scores = [
        Retrieval(victim, sides, CPU, 5).score(noise, "both"),
        Retrieval(victim, sides, CPU, 5, distances=cosine).score(noise, "query"),
        Retrieval(victim, sides, CPU, 5, distances=k_reciprocal(k1=5)).score(),
        Retrieval(victim, sides, CPU, 64).score(),
    ]
    for i, score in enumerate(scores):
        ranking = vars(score.ranking)
        numbers = {name: value for name, value in ranking.items() if name != "cmc"} | ranking["cmc"] | score.spent
        found |= {f"score {i} {name}": value for name, value in numbers.items()}
    return found


class Pixels:
    """Stands for a network whose features are pixels."""

    def at(self, weights, images, virtual):
        return images.flatten(1), images.flatten(1)


def pairs_of_a_defence():
    """How far the perturbed images are from those that they were made from, as a defence finds it."""
    clean = distributed.share(random_images(16, 0))
    perturbed = clean[::2] + distributed.share(0.1 * random_images(8, 1))
    labels = distributed.share(torch.arange(16))
    batch = TrainingBatch(clean, perturbed, torch.cat([labels, labels[::2]]), clean)
    outputs = View(Pixels(), {}, CPU, ReidLoss()).outputs(batch)
    moved = outputs.features[outputs.perturbed] - outputs.features[outputs.origins]
    return {"moved": moved, "labels": outputs.labels[outputs.perturbed], "origins": outputs.labels[outputs.origins]}


def layers():
    """Which layers a network has, and that it is the same in inference."""
    network, synced = Small(), Small()
    synchronise(synced, 2)
    images = random_images(4, 0)
    with torch.no_grad():
        same = torch.equal(network.eval()(images)[1], synced.eval()(images)[1])
    return {"same in inference": same, "types": [type(layer) for layer in synced.modules()]}


LIGHT = [defence_steps, attack_steps, adversaries_in_training, pairs_of_a_defence, layers]
HEAVY = [network_in_float32, training_batches, learnt, trained, driven, scored]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    for i, sample in enumerate(samples(folder)):
        random = np.random.default_rng([sample.pid, i])
        colour = np.random.default_rng(sample.pid).integers(60, 196, (4, 1, 3)).repeat(HEIGHT // 4, axis=0)
        pixels = np.clip(colour + random.normal(0, 25, (HEIGHT, WIDTH, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(sample.path)
    return folder


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory):
    """found[job][size]: what each rank found, which is about the whole batch and so the same on all."""
    results = {}
    for size in (1, 2, 4):
        jobs = [*LIGHT, *HEAVY] if size < 4 else LIGHT
        calls = [partial(job, folder) if job in HEAVY[1:] else job for job in jobs]
        ranks = together(size, calls, tmp_path_factory.mktemp("ranks"))
        for i, job in enumerate(jobs):
            results.setdefault(job, {})[size] = [rank[i] for rank in ranks]
    return results


def differences(found):
    """(what, the largest difference to one process, as a share of the largest number there) of every tensor."""
    (alone,) = found[1]
    for size, rank, result in (
        (size, rank, result) for size, ranks in found.items() for rank, result in enumerate(ranks)
    ):
        assert result.keys() == alone.keys()
        for name, value in result.items():
            wanted, got = torch.as_tensor(alone[name]).double(), torch.as_tensor(value).double()
            assert wanted.shape == got.shape
            scale = max(wanted.abs().max().item(), 1e-300)
            yield f"{name} on rank {rank} of {size}", (got - wanted).abs().max().item() / scale


def beyond(tolerance, found):
    return {name: difference for name, difference in differences(found) if not difference <= tolerance}


def test_defence_steps_of_either_order_have_the_same_gradients(found):
    assert not beyond(1e-10, found[defence_steps])
    assert found[defence_steps][4][3]["second: images 1"].shape == (8, 3, HEIGHT, WIDTH)


def test_attack_steps_make_the_same_perturbation(found):
    assert not beyond(1e-12, found[attack_steps])


def test_adversaries_in_training_draw_and_learn_the_same(found):
    assert not beyond(1e-6, found[adversaries_in_training])


def test_a_defence_finds_the_same_pairs(found):
    assert not beyond(0, found[pairs_of_a_defence])
    (alone,) = found[pairs_of_a_defence][1]
    assert alone["moved"].min() > 0
    assert alone["moved"].max() <= 0.1 + 1e-6
    assert alone["labels"].tolist() == alone["origins"].tolist() == list(range(0, 16, 2))


def test_layers_are_those_of_torch_in_one_process_and_shared_in_several(found):
    shared = {SyncedBatchNorm, SharedDropout}
    for size, ranks in found[layers].items():
        assert all(result["same in inference"] for result in ranks)
        assert shared & set(ranks[0]["types"]) == (set() if size == 1 else shared)


def test_a_whole_network_has_the_same_gradient_but_for_rounding(found):
    assert not beyond(1e-4, found[network_in_float32])


def test_training_images_are_the_same_to_the_bit(found):
    assert not beyond(0, found[training_batches])


def test_a_learnt_perturbation_is_the_same(found):
    assert not beyond(1e-5, found[learnt])


def test_a_defended_model_is_the_same_but_for_rounding(found):
    """Adam divides the gradient by its size, so that rounding turns steps where the gradient is nearly zero."""
    losses = {
        size: [{key: run[key] for key in ("loss_tr", "loss_te")} for run in ranks]
        for size, ranks in found[trained].items()
    }
    assert not beyond(1e-5, losses)
    assert not beyond(0.02, found[trained])


def test_a_model_defended_against_attacks_with_an_aim_is_the_same_but_for_rounding(found):
    losses = {
        size: [{k: v for k, v in run.items() if "loss" in k} for run in ranks] for size, ranks in found[driven].items()
    }
    assert not beyond(1e-4, losses)
    weights = {  # of biases there is nothing but these steps; a sign where the gradient is nearly zero is chance
        size: [{k: v for k, v in run.items() if not k.endswith("bias") and "online" not in k} for run in ranks]
        for size, ranks in found[driven].items()
    }
    assert not beyond(0.02, weights)
    (alone,), (pair, _) = found[driven][1], found[driven][2]
    for name in (name for name in alone if "online" in name):
        assert ((alone[name] - pair[name]).abs() > 1e-6).float().mean() < 0.02, name


def test_features_spent_budgets_and_scores_are_the_same_to_the_bit(found):
    assert not beyond(0, found[scored])
