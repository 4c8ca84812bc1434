"""The networks of deep_sort_pytorch."""

import pytest
import torch
from drawn import drawn_images, drawn_state, read_golden
from golden import assert_golden

from reid import models
from reid.models.families.deep_sort import DeepSortFamily


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("net", "deep_sort_pytorch"),
        ("original", "deep_sort_pytorch-original"),
        ("resnet18", "deep_sort_pytorch-resnet18"),
        ("resnet50", "deep_sort_pytorch-resnet50"),
    ],
)
def test_features_are_those_of_the_authors(name, arch):
    model, report = assert_golden(f"deep_sort-{name}")
    assert model.arch == arch
    assert all(key.startswith(("classifier.", "fc.", "dense.2.", "batch_norm.")) for key in report.unexpected)


def test_any_image_becomes_one_of_128_x_64(tmp_path):
    state = drawn_state(read_golden("deep_sort-original")["keys"])
    torch.save(state, tmp_path / "ckpt.t7")
    victim = models.load_victim(tmp_path / "ckpt.t7")
    assert (victim.input.size, victim.feature_dim, DeepSortFamily.distance) == ((128, 64), 128, "cosine")
    features = victim(drawn_images(200, 90))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))


def test_an_image_without_any_feature_gives_zeros():
    shapes = read_golden("deep_sort-net")["keys"]
    model, _ = DeepSortFamily().build({key: torch.zeros(shape) for key, shape in shapes.items()}, "ckpt.t7")
    with torch.no_grad():
        assert not model(drawn_images(128, 64)).any()
