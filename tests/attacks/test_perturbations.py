import itertools
import math

import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import interpolate

from reid import UsageError, attacks
from reid.attacks import AttackBatch
from reid.attacks.universal.perturbations import create

KEYS = {
    0: {"layer_00.xform.xform_params": (1, 25, 25, 25, 3), "layer_01.delta": (1, 3, 256, 128)},
    1: {"xform.xform_params": (1, 25, 25, 25, 3)},
    2: {"delta": (1, 3, 256, 128)},
}
TABLE = "xform.xform_params"


def spread(noise, seed=0, scale=2.0):
    """Random parameters, up to `scale` budgets away from the start, not projected."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for group in noise.step_groups(fraction=1.0):
            (parameter,), eps = group["params"], group["lr"]
            parameter += scale * eps * (2 * torch.rand(parameter.shape, generator=generator) - 1)
    return noise


def look_up(table, colour):
    """Trilinear interpolation in a (25, 25, 25, 3) table, word by word."""
    position = [min(c * 24, 24.0) for c in colour]
    low = [min(math.floor(p), 23) for p in position]
    result = [0.0, 0.0, 0.0]
    for corner in itertools.product((0, 1), repeat=3):
        share = math.prod(p - i if c else 1 - (p - i) for p, i, c in zip(position, low, corner, strict=True))
        node = table[tuple(i + c for i, c in zip(low, corner, strict=True))]
        result = [r + share * n for r, n in zip(result, node.tolist(), strict=True)]
    return result


def gather(table, images):
    """`look_up` for a batch (N, 3, H, W), corner by corner, with gradients to the table and to the images."""
    position = images.permute(0, 2, 3, 1) * 24
    low = position.detach().floor().clamp(0, 23)
    share, low = position - low, low.long()
    result = 0
    for corner in itertools.product((0, 1), repeat=3):
        corner = torch.tensor(corner)
        weight = torch.where(corner == 1, share, 1 - share).prod(dim=-1, keepdim=True)
        result = result + weight * table[(low + corner).unbind(-1)]
    return result.permute(0, 3, 1, 2)


class TestGolden:
    """The numbers of the released code: raw parameters, their projection, perturbed images, and gradients."""

    @pytest.fixture(params=[0, 1, 2])
    def noise_type(self, request):
        return request.param

    @pytest.fixture
    def noise(self, golden, noise_type):
        noise = create(noise_type)
        data = golden(f"perturbation_type{noise_type}")
        noise.load_state_dict({key: data[f"raw/{key}"] for key in KEYS[noise_type]})
        return noise.project_()

    def test_projection(self, noise, released, noise_type):
        projected = torch.load(released(noise_type), map_location="cpu", weights_only=True)
        assert list(noise.state_dict()) == list(projected)
        for key, value in noise.state_dict().items():
            torch.testing.assert_close(value, projected[key], rtol=0, atol=1e-7)

    def test_perturbed_images(self, noise, golden, noise_type):
        images = golden("perturbation_inputs")["images"] / 255
        expected = golden(f"perturbation_type{noise_type}")["output"]
        torch.testing.assert_close(noise(images).detach(), expected, rtol=0, atol=1e-6)

    def test_gradients(self, noise, golden, noise_type):
        inputs, expected = golden("perturbation_inputs"), golden(f"perturbation_type{noise_type}")
        (noise(inputs["images"] / 255) * inputs["weight"]).sum().backward()
        for name, parameter in noise.named_parameters():
            error = (parameter.grad - expected[f"grad/{name}"]).abs()
            assert (error <= (1e-5 * expected[f"grad/{name}"].abs()).clamp(min=1e-5)).all()


@pytest.mark.parametrize("noise_type", [0, 1, 2])
class TestEveryType:
    def test_has_the_released_keys_and_shapes(self, noise_type):
        assert {key: tuple(v.shape) for key, v in create(noise_type).state_dict().items()} == KEYS[noise_type]

    def test_starts_by_changing_nothing(self, noise_type, images):
        assert (create(noise_type)(images) - images).abs().max() <= 2e-7

    def test_changes_nothing_without_a_budget(self, noise_type, images):
        noise = create(noise_type, eps_color=0, eps_delta=0)
        with torch.no_grad():
            for parameter in noise.parameters():
                parameter.normal_()
        assert (noise.project_()(images) - images).abs().max() <= 2e-7

    def test_leaves_the_input_alone(self, noise_type, images):
        before = images.clone()
        noise = spread(create(noise_type)).project_()
        noise(images)
        noise.attack(None, AttackBatch(images))
        assert torch.equal(images, before)

    def test_as_an_attack_gives_the_images_without_a_graph_and_what_they_cost(self, noise_type, images):
        noise = spread(create(noise_type, 8 / 255, 4 / 255, height=16, width=8)).project_()
        x_adv, components, passes = noise.attack(None, AttackBatch(images))
        spent = noise.measure(images)
        assert torch.equal(x_adv, noise(images))
        assert not x_adv.requires_grad
        assert components == {name: value for name, value in spent.items() if name in components}
        assert (passes.forward, passes.backward) == (0, 0)
        assert spent["total"] == (x_adv - images).abs().max().item()
        used = {name: spent[name] > 0 for name in ("color", "delta")}
        assert used == {"color": noise_type != 2, "delta": noise_type != 1}
        assert spent["color"] <= 8 / 255 + 1e-6
        assert spent["delta"] <= 4 / 255 + 1e-6

    def test_takes_any_size_and_number_of_images(self, noise_type):
        noise = spread(create(noise_type)).project_()
        for shape in [(1, 3, 1, 1), (3, 3, 40, 17), (0, 3, 8, 8)]:
            assert noise(torch.full(shape, 0.5)).shape == shape

    def test_treats_images_one_by_one(self, noise_type, images):
        noise = spread(create(noise_type, height=16, width=8)).project_()
        together, alone = noise(images), torch.cat([noise(image[None]) for image in images])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-7)

    def test_is_differentiable_in_parameters_and_images(self, noise_type):
        noise = spread(create(noise_type, 0.2, 0.2, height=2, width=2).double(), scale=1.0).project_()
        generator = torch.Generator().manual_seed(1)
        x = (0.3 + 0.4 * torch.rand(1, 3, 2, 2, generator=generator)).double().requires_grad_()
        names = [name for name, _ in noise.named_parameters()]

        def output(x, *directions):
            moved = [p + direction for p, direction in zip(noise.parameters(), directions, strict=True)]
            return functional_call(noise, dict(zip(names, moved, strict=True)), (x,))

        directions = [torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in names]
        assert torch.autograd.gradcheck(output, (x, *directions))

    def test_projection_is_pure_idempotent_and_the_nearest_point(self, noise_type):
        noise = spread(create(noise_type, height=4, width=2))
        before = {name: p.detach().clone() for name, p in noise.named_parameters()}
        inside = noise.projected(before)
        for name, parameter in noise.named_parameters():
            box = noise.boxes()[name]
            assert torch.equal(parameter, before[name])
            assert torch.equal(inside[name], before[name].clamp(box.lower, box.upper))
            assert not torch.equal(inside[name], before[name])
        assert noise.project_() is noise
        assert all(torch.equal(p, inside[name]) for name, p in noise.named_parameters())
        assert all(torch.equal(v, inside[name]) for name, v in noise.projected(inside).items())

    def test_step_groups_are_a_share_of_each_budget(self, noise_type):
        groups = create(noise_type, eps_color=8 / 255, eps_delta=4 / 255).step_groups(fraction=0.1)
        expected = {0: [0.8 / 255, 0.4 / 255], 1: [0.8 / 255], 2: [0.4 / 255]}[noise_type]
        assert [group["lr"] for group in groups] == pytest.approx(expected)


class TestProjectionGradient:
    def test_is_one_inside_and_on_the_border_and_zero_outside(self):
        noise = create(2, eps_delta=0.25, height=1, width=1)
        value = torch.tensor([0.1, 0.25, 0.3]).view(1, 3, 1, 1).requires_grad_()
        noise.projected({"delta": value})["delta"].sum().backward()
        assert value.grad.flatten().tolist() == [1.0, 1.0, 0.0]


class TestColour:
    def test_equals_the_literal_interpolation(self, images):
        noise = spread(create(1, eps_color=0.2)).project_()
        table = noise.state_dict()[TABLE][0].double()
        x_adv = noise(images).detach()
        for n, h, w in [(0, 0, 0), (0, 0, 1), *itertools.product((1, 3), (2, 7, 11), (0, 5))]:
            expected = look_up(table, images[n, :, h, w].double().tolist())
            assert x_adv[n, :, h, w].tolist() == pytest.approx(expected, abs=5e-7)

    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_values_and_gradients_equal_those_of_the_literal_gather(self, images, layout):
        noise = spread(create(1, eps_color=0.2)).project_()
        weight = torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
        x = images.contiguous(memory_format=layout).requires_grad_()
        table, x64 = noise.xform["xform_params"], images.detach().double().requires_grad_()
        found, expected = noise(x), gather(table[0].double(), x64)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)
        to_table, to_images = torch.autograd.grad(found, [table, x], weight)
        expected_to_table, expected_to_images = torch.autograd.grad(expected, [table, x64], weight.double())
        torch.testing.assert_close(to_table, expected_to_table, rtol=1e-5, atol=1e-5)
        inside = ((images * 24).frac() - 0.5).abs().amax(1, keepdim=True) < 0.499  # of a cell: nodes have no derivative
        torch.testing.assert_close(to_images * inside, expected_to_images.float() * inside, rtol=1e-4, atol=1e-4)

    def test_is_indexed_red_green_blue_by_absolute_colours(self):
        noise = create(1, eps_color=1.0)
        with torch.no_grad():
            noise.xform["xform_params"][0, 24, 12, 0] = torch.tensor([0.1, 0.2, 0.3])
        colour = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1)
        assert noise(colour).flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])

    def test_range_is_cut_at_black_and_white(self):
        noise = create(1, eps_color=0.1)
        with torch.no_grad():
            noise.xform["xform_params"][0, 0] -= 1.0
            noise.xform["xform_params"][0, 24] += 1.0
        table = noise.project_().state_dict()[TABLE]
        assert table[0, 0, ..., 0].unique().tolist() == [0.0]
        assert table[0, 24, ..., 0].unique().tolist() == [1.0]

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_rounding_does_not_leave_the_range_of_images(self, value, images):
        noise = create(1, eps_color=1.0)
        with torch.no_grad():
            noise.xform["xform_params"].fill_(value)
        x_adv = noise(images).detach()
        assert ((x_adv >= 0) & (x_adv <= 1)).all()
        torch.testing.assert_close(x_adv, torch.full_like(x_adv, value), rtol=0, atol=1e-6)

    def test_keeps_its_gradient_at_white(self):
        noise = create(1)
        noise(torch.ones(1, 3, 2, 2)).sum().backward()
        assert noise.xform["xform_params"].grad[0, 24, 24, 24].tolist() == [4.0, 4.0, 4.0]

    def test_has_no_gradient_outside_its_box(self):
        noise = create(1, eps_color=8 / 255)
        with torch.no_grad():
            noise.xform["xform_params"] += 0.5
        x_adv = noise(torch.ones(1, 3, 2, 2))
        x_adv.sum().backward()
        assert x_adv.unique().tolist() == [1.0]
        assert noise.xform["xform_params"].grad.abs().sum() == 0

    def test_outside_its_box_counts_as_the_nearest_table_inside(self, images):
        outside, inside = spread(create(1)), spread(create(1)).project_()
        assert torch.equal(outside(images), inside(images))


class TestDelta:
    def test_is_added_and_cut_to_the_range_of_images(self):
        noise = create(2, eps_delta=0.5, height=1, width=2)
        with torch.no_grad():
            noise.delta.copy_(torch.tensor([0.25, -0.25]).expand(1, 3, 1, 2))
        x = torch.tensor([[0.5, 0.5], [0.9, 0.1]])[:, None, None].expand(2, 3, 1, 2)
        expected = torch.tensor([[0.75, 0.25], [1.0, 0.0]])[:, None, None].expand(2, 3, 1, 2)
        torch.testing.assert_close(noise(x).detach(), expected)

    def test_is_resized_with_corners_aligned(self):
        noise = spread(create(2, height=8, width=4))
        x_adv = noise(torch.full((1, 3, 15, 10), 0.5)).detach()
        delta = noise.delta.detach()
        resized = interpolate(delta, (15, 10), mode="bilinear", align_corners=True)
        torch.testing.assert_close(x_adv - 0.5, resized, rtol=0, atol=1e-7)
        assert x_adv[0, :, -1, -1].tolist() == pytest.approx((0.5 + delta[0, :, -1, -1]).tolist())


class TestSequence:
    def test_is_colour_then_delta(self, images):
        both = spread(create(0, height=16, width=8)).project_()
        colour, delta = create(1), create(2, height=16, width=8)
        colour.load_state_dict({TABLE: both.state_dict()[f"layer_00.{TABLE}"]})
        delta.load_state_dict({"delta": both.state_dict()["layer_01.delta"]})
        assert torch.equal(both(images), delta(colour(images)))


@pytest.mark.parametrize(
    ("noise_type", "label"),
    [
        (0, "colour 8/255 + delta 4/255 (total 12/255), gallery side"),
        (1, "colour 8/255, gallery side"),
        (2, "delta 4/255, gallery side"),
    ],
)
def test_the_threat_counts_only_the_components_of_the_type(noise_type, label):
    assert create(noise_type, 8 / 255, 4 / 255, side="gallery").threat.label == label


def test_bad_arguments_are_refused_in_one_line():
    with pytest.raises(
        UsageError, match=r"noise type 3 is not one of 0 \(colour \+ delta\), 1 \(colour\), 2 \(delta\)"
    ):
        attacks.create(3)
    with pytest.raises(UsageError, match="eps_color 8 "):
        attacks.create(0, eps_color=8)
