"""Running a victim: features, the budget check on the scored images, sides, validation splits, controls."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerator import DEVICE
from PIL import Image

from reid import attacks
from reid.attacks import Threat
from reid.datasets import Dataset, Release, Sample
from reid.errors import DatasetError, ReidError, UsageError
from reid.evaluation.features import beyond, extract, largest
from reid.evaluation.retrieval import BESIDE, Protocol, fingerprint, validation_samples
from reid.evaluation.retrieval import test_samples as evaluation_samples
from reid.evaluation.rerank import k_reciprocal
from reid.evaluation.experiment import control_attackers
from reid.loading import ImageStore
from reid.runtime import distributed
from reid.runtime.device import Compute, resolve

CPU = resolve("cpu", "fp32")


def victim(images):
    return images.mean((2, 3))


@pytest.fixture
def samples(draw):
    return draw(8, 4)


@pytest.fixture
def protocol(samples):
    query = ImageStore(samples[::3], 8, 4)
    gallery = ImageStore([s for s in samples if s not in samples[::3]], 8, 4)
    return Protocol(victim, query, gallery, CPU, batch_size=3)


def pixels(sample):
    return torch.from_numpy(np.asarray(Image.open(sample.path)).copy()).permute(2, 0, 1).float() / 255


def test_features_are_those_of_the_images_in_order(samples):
    wanted = torch.stack([pixels(sample).mean((1, 2)) for sample in samples])
    for batch_size in (1, 5, 12):
        features, spent = extract(victim, ImageStore(samples, 8, 4), CPU, batch_size)
        assert torch.allclose(features, wanted, atol=1e-6)
        assert spent == {}


def test_the_budget_is_measured_over_all_scored_images(samples):
    noise = attacks.controls.random_sign(Threat(0.0, 8 / 255), seed=0, height=8, width=4)
    _, spent = extract(victim, ImageStore(samples, 8, 4), CPU, 5, noise)
    changes = [(noise(pixels(sample)[None]) - pixels(sample)).abs().max().item() for sample in samples]
    assert spent["total"] == pytest.approx(max(changes), abs=1e-7)
    assert spent["color"] == 0


def test_a_perturbation_beyond_its_budget_is_refused(samples):
    noise = attacks.create(2, eps_delta=8 / 255, height=8, width=4)
    with torch.no_grad():
        noise.delta.fill_(9 / 255)
    with pytest.raises(ReidError, match=r"delta spent 9\.000/255 of 8\.000/255"):
        extract(victim, ImageStore(samples, 8, 4), CPU, 5, noise)


def test_a_measurement_that_is_not_a_number_is_beyond_every_budget():
    spent = {"color": 0.0, "delta": 0.0, "total": 0.0, "total_8bit": 0.0}
    assert not beyond(spent, Threat(0.1, 0.1))
    for kept in (largest(spent, spent | {"total": float("nan")}), largest(spent | {"total": float("nan")}, spent)):
        assert beyond(kept, Threat(0.1, 0.1))


def test_each_side_perturbs_its_own_images_only(protocol):
    noise = attacks.controls.random_lut(Threat(64 / 255, 0.0), seed=1)
    clean_query, clean_gallery = protocol.clean
    query, _ = extract(victim, protocol.query, CPU, 3, noise)
    gallery, _ = extract(victim, protocol.gallery, CPU, 3, noise)
    wanted = {"query": (query, clean_gallery), "gallery": (clean_query, gallery), "both": (query, gallery)}
    for side, features in wanted.items():
        score = protocol.score(noise, side)
        assert score.ranking.mAP == protocol.rank(*features).mAP
        assert 0 < score.spent["total"] <= 64 / 255 + 1e-6
    assert protocol.score().spent == {}


def test_an_unknown_side_is_refused(protocol):
    with pytest.raises(UsageError, match="side 'left'"):
        protocol.score(side="left")


def dataset(samples, **splits):
    return Dataset("own", Path("images"), {"trainval": [], "query": [], "gallery": [], **splits}, 3, Release("own"))


def test_validation_asks_once_per_person_and_camera_and_all_answer(samples):
    data = dataset(samples, trainval=[*samples, *(Sample(f"{s.path}.other", s.pid, s.camid) for s in samples)])
    query, gallery = validation_samples(data)
    assert {(s.pid, s.camid) for s in query} == {(s.pid, s.camid) for s in data.val}
    assert len(query) == len({(s.pid, s.camid) for s in query}) == len(data.val) / 2
    assert gallery == data.val


def test_validation_without_a_second_camera_is_refused(samples):
    one_camera = [Sample(s.path, s.pid, 0) for s in samples]
    with pytest.raises(DatasetError, match="no validation identity is seen by two cameras"):
        validation_samples(dataset(samples, trainval=one_camera))


def test_a_training_set_cannot_be_evaluated(samples):
    with pytest.raises(DatasetError, match="has no query and gallery"):
        evaluation_samples(dataset(samples, trainval=samples))


def test_the_fingerprint_tells_other_rankings_apart(samples):
    query, gallery = samples[::3], samples[1::3]
    same = fingerprint(query, gallery)
    assert fingerprint(list(query), list(gallery)) == same
    for other in (fingerprint(query[:-1], gallery), fingerprint(query, gallery[::-1]), fingerprint(gallery, query)):
        assert other != same


def test_controls_spend_the_whole_budget_at_random():
    images = torch.full((4, 3, 16, 8), 0.5)
    made = control_attackers(Threat(8 / 255, 8 / 255), seed=0, height=16, width=8)
    controls = {attacker.name: attacker.noise for attacker in made}
    assert list(controls) == ["random sign 8", "random LUT 8", "random both 8"]
    totals = [noise.measure(images)["total"] * 255 for noise in controls.values()]
    assert totals[0] == pytest.approx(8, abs=1e-3)
    assert totals[1] == pytest.approx(8, abs=1e-3)
    assert totals[2] > totals[1]


class TestRankingOnAGPU:
    """1000 x 3 features of the gallery and 4 x 3 of the queries, 4 x 1000 distances, twice, and what else there is."""

    NEEDED = 2 * 4 * (1000 * 3 + 4 * 3 + 4 * 1000) + BESIDE

    @pytest.fixture
    def ranks_on(self, protocol, monkeypatch):
        def device(memory):
            card = SimpleNamespace(total_memory=memory)
            monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
            protocol.compute = Compute(torch.device("cuda"), "fp32")
            return protocol._ranks_on(torch.rand(4, 3), torch.rand(1000, 3)).type

        return device

    def test_takes_half_of_its_memory_at_most(self, ranks_on):
        assert ranks_on(2 * self.NEEDED) == "cuda"
        assert ranks_on(2 * self.NEEDED - 1) == "cpu"

    def test_is_for_all_processes_or_none(self, ranks_on, monkeypatch):
        monkeypatch.setattr(distributed, "every", lambda value: [value, False])
        assert ranks_on(2 * self.NEEDED) == "cpu"


def test_ranks_on_the_cpu_what_is_written_for_it(samples):
    query, gallery = (ImageStore(some, 8, 4) for some in (samples[:3], samples[3:]))
    reranked = Protocol(victim, query, gallery, Compute(DEVICE, "fp32"), distances=k_reciprocal())
    assert reranked._ranks_on(torch.rand(4, 3), torch.rand(8, 3)).type == "cpu"
    assert (
        Protocol(victim, query, gallery, Compute(DEVICE, "fp32"))._ranks_on(torch.rand(4, 3), torch.rand(8, 3))
        == DEVICE
    )
