"""Images are checked where they come in: by models, victims, perturbations and attacks, once each, at little cost."""

import copy

import pytest
import torch
from accelerator import DEVICE, accelerator
from torch import nn

from reid import attacks, models
from reid.attacks.base import AttackBatch, perform
from reid.attacks.controls import random_sign
from reid.attacks.image.pgd import PGD
from reid.attacks.threat import Threat
from reid.errors import UsageError
from reid.models.checks import ImageCheck

GREY = torch.linspace(0, 255, 2 * 3 * 64 * 32).view(2, 3, 64, 32)
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
PICTURES = GREY / 255
WRONG = {
    "8 bits": (GREY.to(torch.uint8), r"not torch.uint8 \(2, 3, 64, 32\) in \[0, 255\]; divide 8-bit values by 255"),
    "grey levels": (GREY, r"not \[0, 255\]; divide 8-bit values by 255"),
    "normalised": ((PICTURES - MEAN) / STD, r"not \[-2.1\d+, 2.6\d*\]; undo their normalisation"),
    "by a half": (PICTURES * 2 - 1, r"not \[-1, 1\]; undo their normalisation"),
    "overshot": (PICTURES * 1.02 - 0.01, r"not \[-0.01, 1.01\]; clamp"),
    "one NaN": (torch.where(PICTURES == 1, torch.nan, PICTURES), r"not \[nan, nan\]; find where"),
    "infinite": (torch.where(PICTURES == 1, torch.inf, PICTURES), r"not \[0, inf\]; find where"),
    "no batch": (PICTURES[0], r"\(3, 64, 32\), which has no batch dimension; give images\[None\]"),
    "channels last": (PICTURES.permute(0, 2, 3, 1), r"give images.permute\(0, 3, 1, 2\)"),
    "grey": (PICTURES[:, :1], r"\(2, 1, 64, 32\); give RGB, three channels"),
    "with alpha": (PICTURES[:, [0, 1, 2, 2]], r"\(2, 4, 64, 32\); give RGB"),
    "a clip": (PICTURES[None], r"\(1, 2, 3, 64, 32\); give RGB"),
    "truth values": (PICTURES > 0.5, r"torch.bool \(2, 3, 64, 32\)"),
    "complex": (PICTURES.to(torch.complex64), r"torch.complex64"),
    "an array": (PICTURES.numpy(), r"not ndarray; give a torch tensor"),
}


class Mean(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


@pytest.fixture(scope="module")
def network():
    return models.create("resnet10", 3, seed=0).eval()


@pytest.fixture(scope="module")
def victim():
    return models.Victim(Mean(), name="mean")


def entrances(network, victim):
    yield from (attacks.create(kind, height=64, width=32) for kind in (0, 1, 2))
    yield from (network, network.features, victim, models.Victim(network))
    yield from (attacks.create(0).measure, lambda x: attacks.create(1).attack(None, AttackBatch(x)))
    noise = random_sign(Threat(0, 0.1), 0, 64, 32)
    yield from (lambda x: perform(noise, victim, AttackBatch(x)), lambda x: PGD(steps=1).attack(victim, AttackBatch(x)))


@pytest.mark.parametrize("name", WRONG)
def test_everything_that_takes_images_refuses_what_is_none(name, network, victim):
    wrong, words = WRONG[name]
    for entrance in entrances(network, victim):
        with pytest.raises(UsageError, match=words) as caught:
            entrance(wrong)
        assert "images are " in str(caught.value)
        assert "[0, 1]" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_come_back_as_they_are(dtype, layout):
    for images in (PICTURES, PICTURES[:0], PICTURES * 1.0009, PICTURES - 0.0009, PICTURES[:, :, ::2].flip(3)):
        images = images.to(dtype).to(memory_format=layout)
        assert ImageCheck()(images) is images


def test_batches_on_the_cpu_are_all_read():
    check = ImageCheck()
    for _ in range(2):
        check(PICTURES)
        with pytest.raises(UsageError):
            check(GREY)


def test_an_accelerator_is_waited_for_on_the_first_batch_alone(victim):
    with accelerator() as device:
        for make in (
            lambda: attacks.create(2, height=64, width=32).to(DEVICE),
            lambda: copy.deepcopy(victim).to(DEVICE),
        ):
            there, use = PICTURES.to(DEVICE), make()
            device.waits.clear()
            for _ in range(3):
                use(there)
            assert len(device.waits) == 1
            with pytest.raises(UsageError, match="divide 8-bit"):
                make()(GREY.to(DEVICE))
            with pytest.raises(UsageError, match="no batch dimension"):
                use(there[0])


def test_what_a_model_says_about_itself_is_not_its_first_batch():
    """`differentiable` and `feature_dim` send an image of their own through."""
    with accelerator():
        victim = models.Victim(nn.Sequential(nn.Conv2d(3, 2, 8), Mean()).to(DEVICE))
        assert victim.feature_dim == 2
        with pytest.raises(UsageError, match="divide 8-bit"):
            victim(GREY.to(DEVICE))


def test_images_are_read_once_on_their_way(monkeypatch, network, victim):
    """A sequence of perturbations and a network within a victim check nothing a second time."""
    reads, real = [], torch.Tensor.aminmax
    monkeypatch.setattr(torch.Tensor, "aminmax", lambda self: reads.append(1) or real(self))
    for use in (attacks.create(0, height=64, width=32), network, models.Victim(network), attacks.create(0).measure):
        reads.clear()
        use(PICTURES)
        assert len(reads) == 1


def test_transforms_of_torch_pass_through(network):
    noise = random_sign(Threat(0, 0.1), 0, 64, 32)
    one_by_one = torch.func.vmap(lambda image: noise(image[None])[0])(PICTURES)
    torch.testing.assert_close(one_by_one, noise(PICTURES))
    plain = PICTURES.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(noise(plain).square().sum(), plain)
    torch.testing.assert_close(torch.func.grad(lambda x: noise(x).square().sum())(PICTURES), wanted)
    program = torch.export.export(network, (PICTURES,)).module()
    torch.testing.assert_close(program(PICTURES), network(PICTURES))
    with torch.device("meta"):
        assert noise.to("meta")(torch.rand(2, 3, 64, 32)).shape == (2, 3, 64, 32)
