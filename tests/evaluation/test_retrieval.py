"""Running a victim: features, attacks on the scored images and what they may know, sides, validation splits."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerator import DEVICE, accelerator
from PIL import Image
from ranks import together

from reid import attacks
from reid.attacks import Attack, Attacked, Threat
from reid.attacks.image.pgd import PGD
from reid.attacks.specs import create
from reid.datasets import Dataset, Release, Sample
from reid.errors import DatasetError, ReidError, UsageError
from reid.evaluation.features import extract, largest
from reid.evaluation.rerank import k_reciprocal
from reid.evaluation.retrieval import WORKSPACE, Retrieval, log_scores, of_validation, validation, validation_samples
from reid.evaluation.retrieval import test_samples as evaluation_samples
from reid.loading import Images, ImageStore
from reid.models import Victim
from reid.models.victim import Passes
from reid.runtime import distributed
from reid.runtime.device import Compute, resolve

CPU = resolve("cpu", "fp32")


def mean_colour(images):
    return images.mean((2, 3))


@pytest.fixture
def victim():
    return Victim(mean_colour)


@pytest.fixture
def samples(draw):
    return draw(8, 4)


@pytest.fixture
def sides(samples):
    query = samples[::3]
    return ImageStore(query, 8, 4), ImageStore([s for s in samples if s not in query], 8, 4)


@pytest.fixture
def retrieval(victim, sides):
    return Retrieval(victim, sides, CPU, batch_size=3)


def pixels(sample):
    return torch.from_numpy(np.asarray(Image.open(sample.path)).copy()).permute(2, 0, 1).float() / 255


class Watching(Attack):
    """Changes nothing, and keeps the batches that it gets."""

    threat = Threat(0.0, 0.1)
    kind = "image"

    def __init__(self, *needs):
        self.needs, self.batches = frozenset(needs), []

    def attack(self, victim, batch):
        self.batches.append(batch)
        return Attacked(batch.images, {})


class TestFeatures:
    def test_are_those_of_the_images_in_order(self, samples, victim):
        expected = torch.stack([pixels(sample).mean((1, 2)) for sample in samples])
        for batch_size in (1, 5, 12):
            features, spent, passes, _ = extract(victim, ImageStore(samples, 8, 4), CPU, batch_size)
            assert torch.allclose(features, expected, atol=1e-6)
            assert (spent, passes) == ({}, Passes())

    def test_spend_the_largest_of_all_images(self, samples, victim):
        noise = attacks.controls.random_sign(Threat(0.0, 8 / 255), seed=0, height=8, width=4)
        _, spent, _, _ = extract(victim, ImageStore(samples, 8, 4), CPU, 5, noise)
        changes = [(noise(pixels(sample)[None]) - pixels(sample)).abs().max().item() for sample in samples]
        assert spent["total"] == pytest.approx(max(changes), abs=1e-7)
        assert spent["color"] == 0

    def test_under_an_attack_beyond_its_budget_are_refused(self, samples, victim):
        noise = attacks.create(2, eps_delta=8 / 255, height=8, width=4)
        with torch.no_grad():
            noise.delta.fill_(9 / 255)
        with pytest.raises(ReidError, match=r"delta spent 9\.000/255 of 8\.000/255"):
            extract(victim, ImageStore(samples, 8, 4), CPU, 5, noise)

    def test_cost_what_the_attack_sent_through_the_model(self, samples, victim):
        _, _, passes, _ = extract(victim, ImageStore(samples, 8, 4), CPU, 5, PGD(steps=2))
        assert passes == Passes(forward=12 * (1 + 2 + 1), backward=12 * 2)

    def test_come_with_what_is_known_of_each_image(self, samples, victim):
        attack = Watching("labels")
        extract(victim, ImageStore(samples, 8, 4), CPU, 5, attack)
        assert [len(batch.images) for batch in attack.batches] == [5, 5, 2]
        for name, expected in {
            "pids": [s.pid for s in samples],
            "camids": [s.camid for s in samples],
            "places": list(range(12)),
        }.items():
            assert torch.cat([getattr(batch, name) for batch in attack.batches]).tolist() == expected


def test_the_larger_of_two_measurements_is_kept_and_what_is_no_number_too():
    assert largest({"color": 1.0, "delta": 3.0}, {"color": 2.0, "total": 1.0}) == {"color": 2, "delta": 3, "total": 1}
    for kept in (largest({"total": 1.0}, {"total": float("nan")}), largest({"total": float("nan")}, {"total": 1.0})):
        assert np.isnan(kept["total"])


class TestScore:
    def test_attacks_the_images_of_its_side_only(self, retrieval, victim):
        noise = attacks.controls.random_lut(Threat(64 / 255, 0.0), seed=1)
        clean_query, clean_gallery = retrieval.clean
        query = extract(victim, retrieval.query, CPU, 3, noise).features
        gallery = extract(victim, retrieval.gallery, CPU, 3, noise).features
        expected = {"query": (query, clean_gallery), "gallery": (clean_query, gallery), "both": (query, gallery)}
        for side, features in expected.items():
            score = retrieval.score(noise, side)
            assert score.ranking.mAP == retrieval.rank(*features).mAP
            assert 0 < score.spent["total"] <= 64 / 255 + 1e-6
        assert (retrieval.score().spent, retrieval.score().passes) == ({}, Passes())

    def test_of_both_sides_adds_up_their_passes(self, retrieval):
        forward = {side: retrieval.score(PGD(steps=1), side).passes.forward for side in ("query", "gallery", "both")}
        assert forward == {"query": 4 * 3, "gallery": 8 * 3, "both": 12 * 3}

    def test_takes_an_attack_to_the_device_of_the_network(self, victim, sides):
        noise = attacks.controls.random_both(Threat(0.1, 0.1), 0, 8, 4)
        with accelerator():
            Retrieval(victim, sides, Compute(DEVICE, "fp32")).score(noise, "both")

    def test_refuses_an_unknown_side(self, retrieval):
        with pytest.raises(UsageError, match="side 'left'"):
            retrieval.score(side="left")

    def test_refuses_an_attack_that_needs_gradients_of_a_model_without(self, sides):
        retrieval = Retrieval(Victim(lambda images: mean_colour(images).detach()), sides, CPU)
        with pytest.raises(UsageError, match="the attack PGD needs gradients"):
            retrieval.score(PGD(steps=1))

    def test_is_logged_clean_and_under_each_attack(self, retrieval, caplog):
        caplog.set_level("INFO")
        log_scores("own set", retrieval, {"PGD": PGD(steps=1)})
        assert [record.message.partition("  ")[0] for record in caplog.records] == ["own set clean", "own set PGD"]


class TestReference:
    """An attack that may know the other side gets its clean features, pids and cameras; others get nothing."""

    @pytest.mark.parametrize("side", ["query", "gallery", "both"])
    def test_is_the_other_side(self, side, retrieval):
        attack = Watching("reference")
        retrieval.score(attack, side)
        (query, gallery), batches = retrieval.clean, {"query": 2, "gallery": 3}
        expected = []
        if side in ("query", "both"):
            expected += [(gallery, retrieval.gallery.samples)] * batches["query"]
        if side in ("gallery", "both"):
            expected += [(query, retrieval.query.samples)] * batches["gallery"]
        for batch, (features, samples) in zip(attack.batches, expected, strict=True):
            assert torch.equal(batch.reference.features, features)
            assert batch.reference.pids.tolist() == [s.pid for s in samples]
            assert batch.reference.camids.tolist() == [s.camid for s in samples]

    def test_is_not_for_attacks_that_do_not_say_that_they_need_it(self, retrieval):
        attack = Watching("labels")
        retrieval.score(attack, "both")
        assert all(batch.reference is None for batch in attack.batches)


class TestTraining:
    """An attack that knows a training set gets the clean features of it, computed once."""

    def test_are_its_clean_features(self, victim, sides, samples):
        training = ImageStore(samples[:5], 8, 4)
        retrieval, attack = Retrieval(victim, sides, CPU, 3, training), Watching("training")
        retrieval.score(attack, "both")
        known = {id(batch.training): batch.training for batch in attack.batches}
        (known,) = known.values()
        assert torch.equal(known.features, extract(victim, training, CPU).features)
        assert (known.pids.tolist(), known.camids.tolist()) == tuple(
            [getattr(sample, name) for sample in samples[:5]] for name in ("pid", "camid")
        )
        retrieval.score(other := Watching("labels"))
        assert all(batch.training is None for batch in other.batches)

    def test_that_nobody_gave_are_missed_in_one_line(self, retrieval):
        with pytest.raises(UsageError, match="needs training, which this model or these images do not give"):
            retrieval.score(create("cosine"))


def references_seen(samples):
    """Whether the gallery is divided among the processes, and the references of attacks on each side."""
    sides = ImageStore(samples[::3], 8, 4), ImageStore([s for s in samples if s not in samples[::3]], 8, 4)
    retrieval, attack = Retrieval(Victim(mean_colour), sides, CPU, batch_size=2), Watching("reference")
    for side in ("query", "gallery"):
        retrieval.score(attack, side)
    seen = [batch.reference for batch in attack.batches]
    return retrieval._sharded, [(each.features, each.pids, each.camids) for each in seen]


def test_a_reference_is_whole_where_each_process_has_a_part_of_the_gallery(samples, tmp_path):
    _, alone = references_seen(samples)
    lengths = {8: alone[0], 4: alone[-1]}  # gallery and query
    for ((sharded, seen),) in together(2, [partial(references_seen, samples)], tmp_path):
        assert sharded
        assert {len(features) for features, *_ in seen} == {8, 4}
        for reference in seen:
            for value, expected in zip(reference, lengths[len(reference[0])], strict=True):
                assert torch.equal(value, expected)


def dataset(samples, **splits):
    return Dataset("own", Path("images"), {"trainval": [], "query": [], "gallery": [], **splits}, 3, Release("own"))


class TestValidation:
    def test_asks_once_per_person_and_camera_and_all_answer(self, samples):
        data = dataset(samples, trainval=[*samples, *(Sample(f"{s.path}.other", s.pid, s.camid) for s in samples)])
        query, gallery = validation_samples(data)
        assert {(s.pid, s.camid) for s in query} == {(s.pid, s.camid) for s in data.val}
        assert len(query) == len({(s.pid, s.camid) for s in query}) == len(data.val) / 2
        assert gallery == data.val

    def test_without_a_second_camera_is_refused(self, samples):
        one_camera = [Sample(s.path, s.pid, 0) for s in samples]
        with pytest.raises(DatasetError, match="no validation identity is seen by two cameras"):
            validation_samples(dataset(samples, trainval=one_camera))

    def test_a_set_to_choose_by_has_them_as_query_and_gallery_and_nobody_else(self, samples):
        other = [Sample("other", 77, 1)]
        data = dataset(samples, trainval=samples, query=other, gallery=other, unknown=other)
        view = of_validation(data)
        assert evaluation_samples(view) == (view.query, view.gallery) == validation_samples(data)
        assert {s.pid for s in view.trainval}.isdisjoint(s.pid for s in view.gallery)
        assert {*view.trainval, *view.gallery} == {*samples}
        assert view.unknown == []
        assert (data.query, data.trainval) == (other, samples)

    def test_scores_the_model_as_it_is_clean_and_under_the_worst_attack(self, samples):
        data = dataset(samples, trainval=samples)
        data.val = samples
        model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
        noises = [attacks.controls.random_sign(Threat(0.0, eps), 0, 8, 4) for eps in (0.5, 0.0)]
        images = Images(8, 4, workers=1)
        sides = images.stores(validation_samples(data))
        values = validation(model, sides, CPU, lambda: noises)()
        retrieval = Retrieval(Victim(model), sides, CPU)
        scores = [retrieval.score(noise).ranking.mAP for noise in noises]
        assert values == {"val_mAP": retrieval.score().ranking.mAP, "val_attacked": min(scores)}
        assert scores[0] < scores[1]
        assert validation(model, sides, CPU)().keys() == {"val_mAP"}


def test_a_training_set_cannot_be_evaluated(samples):
    with pytest.raises(DatasetError, match="has no query and gallery"):
        evaluation_samples(dataset(samples, trainval=samples))


class TestRankingOnAGPU:
    """1000 x 3 features of the gallery and 4 x 3 of the queries, 4 x 1000 distances, twice, and what else there is."""

    NEEDED = 2 * 4 * (1000 * 3 + 4 * 3 + 4 * 1000) + WORKSPACE

    @pytest.fixture
    def ranks_on(self, retrieval, monkeypatch):
        def device(memory):
            card = SimpleNamespace(total_memory=memory)
            monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
            retrieval.compute = Compute(torch.device("cuda"), "fp32")
            return retrieval._ranks_on(torch.rand(4, 3), torch.rand(1000, 3)).type

        return device

    def test_takes_half_of_its_memory_at_most(self, ranks_on):
        assert ranks_on(2 * self.NEEDED) == "cuda"
        assert ranks_on(2 * self.NEEDED - 1) == "cpu"

    def test_is_for_all_processes_or_none(self, ranks_on, monkeypatch):
        monkeypatch.setattr(distributed, "every", lambda value: [value, False])
        assert ranks_on(2 * self.NEEDED) == "cpu"


def test_ranks_on_the_cpu_what_is_written_for_it(sides, victim):
    devices = [
        Retrieval(victim, sides, Compute(DEVICE, "fp32"), **options)._ranks_on(torch.rand(4, 3), torch.rand(8, 3))
        for options in ({"distances": k_reciprocal()}, {})
    ]
    assert devices == [torch.device("cpu"), DEVICE]
