"""Networks that come as code: timm's, a user's function, TorchScript, exported programs."""

import pytest
import torch
from torch import nn

from reid import CheckpointError, UsageError, models
from reid.models import InputSpec
from reid.models.sources import open_model

INPUT = InputSpec(32, 16, resize=None, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class Bare(nn.Module):
    """A network of ours as other code would have it: prepared images to features and logits."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        model.normalise = nn.Identity()

    def forward(self, images):
        return self.model(images)


@pytest.fixture
def eleven():
    return torch.rand(11, 3, 32, 16, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def expected(small, eleven):
    with torch.no_grad():
        return small.eval()(eleven)[0]


@pytest.fixture
def bare(small, expected):
    return Bare(small.eval())


def assert_same(spec, images, expected):
    victim = models.load_victim(spec)
    actual = victim(images.clone().requires_grad_())
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()
    assert victim.differentiable
    assert not victim.train().training
    return victim


def test_a_torchscript_file_with_its_input_next_to_it(bare, eleven, expected, tmp_path):
    torch.jit.trace(bare, torch.rand(2, 3, 32, 16)).save(str(tmp_path / "x.pt"))
    spec = f"torchscript:{tmp_path}/x.pt"
    with pytest.raises(UsageError, match="does not say how it wants its images"):
        models.load_victim(spec)
    assert models.load_victim(spec, preprocessing="imagenet", size=(32, 16))(eleven).shape == (11, 512)
    (tmp_path / "x.pt.json").write_text(INPUT.to_json())
    assert assert_same(spec, eleven, expected).input == INPUT
    assert open_model(spec).certain


@pytest.mark.parametrize("batch", [None, 8])
def test_an_exported_program_takes_any_number_of_images(batch, bare, eleven, expected, tmp_path):
    free = None if batch else ({0: torch.export.Dim("batch")},)
    program = torch.export.export(bare, (torch.rand(batch or 2, 3, 32, 16),), dynamic_shapes=free)
    torch.export.save(program, tmp_path / "x.pt2")
    (tmp_path / "x.pt2.json").write_text(INPUT.to_json())
    spec = f"exported:{tmp_path}/x.pt2"
    assert assert_same(spec, eleven, expected).input == INPUT
    assert open_model(spec).fixed == (32, 16)


def test_an_exported_program_that_takes_no_images_is_one_line(tmp_path):
    program = torch.export.export(nn.Linear(4, 4), (torch.rand(2, 4),))
    torch.export.save(program, tmp_path / "x.pt2")
    with pytest.raises(CheckpointError, match=r"x\.pt2 takes \(2, 4\), not images \(N, 3, H, W\)"):
        models.load_victim(f"exported:{tmp_path}/x.pt2")


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_broken_files_are_one_line(kind, bare, tmp_path, capfd):
    if kind == "torchscript":
        torch.jit.trace(bare, torch.rand(2, 3, 32, 16)).save(str(tmp_path / "x"))
    else:
        torch.export.save(torch.export.export(bare, (torch.rand(2, 3, 32, 16),)), tmp_path / "x.pt2")
        (tmp_path / "x.pt2").rename(tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"x cannot be read as .* by torch") as caught:
            models.load_victim(f"{kind}:{tmp_path}/x")
        assert len(str(caught.value)) <= 512
    assert "Error" not in capfd.readouterr().err
    with pytest.raises(CheckpointError, match="no such file: missing; check the path"):
        models.load_victim(f"{kind}:missing")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t"])
def test_a_network_of_timm_with_weights_of_a_file(name, timm_network, tmp_path):
    network, prepared, size = timm_network(name, 7)
    victim = models.load_victim(f"timm:{name}:{tmp_path}/x.pth")
    images = torch.rand(2, 3, *victim.input.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(prepared(images)), pre_logits=True)
        torch.testing.assert_close(victim(images), expected, rtol=1e-4, atol=1e-5)
    assert victim.input.size == size
    assert victim.differentiable
    assert open_model(f"timm:{name}:{tmp_path}/x.pth").certain


def test_timms_mistakes_are_one_line(tmp_path):
    pytest.importorskip("timm")
    with pytest.raises(UsageError, match=r"timm:resnet10x is not known to timm .*it has .*resnet10t"):
        models.load_victim("timm:resnet10x:x.pth")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="is not whole"):
        models.load_victim(f"timm:resnet10t:{tmp_path}/x.pth")


def test_a_function_of_the_user(user_functions, eleven):
    victim = models.load_victim("functions:linear")
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    pooled = nn.functional.adaptive_avg_pool2d(255 * eleven.flip(1), 4).flatten(1)
    torch.testing.assert_close(victim(eleven), pooled @ weight)
    assert (victim.arch, victim.feature_dim, victim.differentiable) == ("Linear", 64, True)
    again = models.load_victim("functions:linear")
    assert victim.sha256 == again.sha256 != models.load_victim("functions:unknown", preprocessing="unit").sha256


def test_a_function_without_gradients_gives_scores(user_functions, eleven, caplog):
    victim = models.load_victim("functions:arrays")
    torch.testing.assert_close(victim(eleven), 255 * eleven.flip(1).mean((2, 3)))
    assert not victim.differentiable
    assert "functions:arrays gives no gradients, or only zero or infinite ones: scores only" in caplog.text


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("functions:fails", "functions:fails failed: KeyError: 'weights'; .*mend the function"),
        ("functions:number", "functions:number returns int; let it return a network"),
        ("functions:missing", "has no attribute 'missing'"),
        ("nowhere_at_all:f", "No module named 'nowhere_at_all'"),
    ],
)
def test_a_function_that_cannot_be_used_is_one_line(spec, words, user_functions):
    with pytest.raises(UsageError, match=words):
        models.load_victim(spec)
