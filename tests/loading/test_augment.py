"""Augmentation of batches: each step against a literal loop over pixels, and its distribution against torchvision's."""

import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import v2

from reid.loading import augment, to_images
from reid.runtime.seeds import generator

CPU = torch.device("cpu")
SIZE = HEIGHT, WIDTH = 256, 128
MANY = 3000


@pytest.fixture
def pixels():
    """uint8 images (24, 3, 32, 16), none of whose values is black."""
    return torch.randint(1, 256, (24, 3, 32, 16), generator=generator(5), dtype=torch.uint8)


@pytest.fixture(scope="module")
def drawn():
    return augment.draw(MANY, SIZE, generator(1))


@pytest.fixture(scope="module")
def erased_by_torchvision():
    """(top, left, bottom, right) of the rectangles that torchvision erases."""
    erase = v2.RandomErasing(1.0, (0.02, 0.4), (0.3, 1 / 0.3))
    image = torch.zeros(1, *SIZE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = [erase.make_params([image]) for _ in range(MANY)]
    return torch.tensor([(p["i"], p["j"], p["i"] + p["h"], p["j"] + p["w"]) for p in made])


@pytest.fixture(scope="module")
def cropped_by_torchvision():
    """How far down and to the right torchvision's crop of the padded image moves it."""
    crop = v2.RandomCrop(SIZE, padding=10)
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    image = torch.stack([y, x]).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.stack([torch.tensor([128.0, 64.0]) - crop(image)[:, 128, 64] for _ in range(MANY)])


def literally(pixels, drawn):
    """One pixel after the other, in Python: black around, where the crop leaves the image; the mean where erased."""
    n, _, height, width = pixels.shape
    made = torch.zeros(n, 3, height, width)
    for i, (mirrored, down, right, top, left, bottom, end) in enumerate(drawn.tolist()):
        for y in range(height):
            for x in range(width):
                if top <= y < bottom and left <= x < end:
                    made[i, :, y, x] = torch.tensor([0.485, 0.456, 0.406])
                elif 0 <= y - down < height and 0 <= x - right < width:
                    column = width - 1 - (x - right) if mirrored else x - right
                    made[i, :, y, x] = pixels[i, :, y - down, column] / 255
    return made


def same_distribution(ours, theirs):
    return ks_2samp(ours.numpy(), theirs.numpy()).pvalue > 0.01


def shapes(rectangles):
    """Area and logarithm of the aspect of rectangles."""
    top, left, bottom, right = rectangles.double().unbind(1)
    return (bottom - top) * (right - left), ((bottom - top) / (right - left)).log()


class TestWhatHappensToPixels:
    @pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
    def test_is_what_a_loop_over_pixels_does(self, pixels, layout):
        drawn = augment.draw(len(pixels), (32, 16), generator(0))
        before = pixels.clone()
        made = augment.usual(pixels.contiguous(memory_format=layout), drawn, CPU)
        assert torch.equal(made, literally(pixels, drawn))
        assert torch.equal(pixels, before)
        assert made.is_contiguous(memory_format=torch.channels_last)

    def test_all_zeros_leave_an_image_as_it_is(self, pixels):
        drawn = torch.zeros(len(pixels), 7, dtype=torch.long)
        assert torch.equal(augment.usual(pixels, drawn, CPU), to_images(pixels, CPU))

    @pytest.mark.parametrize("down", [-31, -3, 0, 3, 31])
    @pytest.mark.parametrize("right", [-15, -2, 0, 2, 15])
    def test_any_move_within_the_image_is_possible(self, pixels, down, right):
        drawn = torch.tensor([[0, down, right, 0, 0, 0, 0], [1, down, right, 0, 0, 0, 0]])
        assert torch.equal(augment.usual(pixels[:2], drawn, CPU), literally(pixels[:2], drawn))

    def test_a_part_of_a_batch_becomes_what_it_is_in_the_whole(self, pixels):
        drawn = augment.draw(len(pixels), (32, 16), generator(0))
        whole = augment.usual(pixels, drawn, CPU)
        assert torch.equal(augment.usual(pixels[6:12], drawn[6:12], CPU), whole[6:12])


class TestColourJitter:
    def test_is_what_a_loop_over_images_does(self, pixels):
        images = to_images(pixels, CPU)
        factors = augment.draw_jitter(len(images), 1.0, generator(0))
        for made, image, (gamma, red, green, blue, contrast, saturation) in zip(
            augment.jittered(images, factors), images, factors.tolist(), strict=True
        ):
            lit = torch.stack([gain * image[c] ** gamma for c, gain in enumerate((red, green, blue))])
            lit = lit.mean() + contrast * (lit - lit.mean())
            grey = (lit[0] + lit[1] + lit[2]) / 3
            torch.testing.assert_close(made, (grey + saturation * (lit - grey)).clamp(0, 1))

    def test_factors_of_one_leave_an_image_as_it_is(self, pixels):
        images = to_images(pixels, CPU)
        factors = augment.draw_jitter(len(images), 0.0, generator(0))
        torch.testing.assert_close(augment.jittered(images, factors), images)

    @pytest.mark.parametrize("strength", [0.5, 2.0])
    def test_factors_go_as_far_either_way_as_the_strength_says(self, strength):
        logarithms = augment.draw_jitter(MANY, strength, generator(0)).log() / strength
        assert logarithms.amax(0).tolist() == pytest.approx(augment.JITTER, rel=0.01)
        assert logarithms.amin(0).tolist() == pytest.approx([-each for each in augment.JITTER], rel=0.01)
        assert logarithms.mean(0).abs().max() < 0.02


class TestDistribution:
    def test_the_same_generator_draws_the_same(self):
        first, again, other = (augment.draw(64, SIZE, generator(seed)) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_half_of_the_images_are_mirrored_and_half_are_erased_independently(self, drawn):
        mirrored, erased = drawn[:, 0] == 1, drawn[:, 5] > drawn[:, 3]
        for chosen, share in ((mirrored, 0.5), (erased, 0.5), (mirrored & erased, 0.25)):
            assert abs(chosen.float().mean() - share) < 0.03

    def test_crops_are_where_torchvision_puts_them(self, drawn, cropped_by_torchvision):
        for axis in (0, 1):
            ours = drawn[:, 1 + axis]
            assert (ours.min(), ours.max(), len(ours.unique())) == (-10, 10, 21)
            assert same_distribution(ours, cropped_by_torchvision[:, axis])

    def test_the_padding_is_in_proportion_to_the_height(self):
        moves = augment.draw(MANY, (80, 40), generator(0))[:, 1:3]
        assert moves.aminmax() == (-3, 3)

    def test_erased_areas_and_aspects_are_those_of_torchvision(self, drawn, erased_by_torchvision):
        ours = drawn[drawn[:, 5] > 0, 3:]
        for mine, theirs in zip(shapes(ours), shapes(erased_by_torchvision), strict=True):
            assert same_distribution(mine, theirs)

    def test_erased_places_are_those_of_torchvision(self, drawn, erased_by_torchvision):
        ours = drawn[drawn[:, 5] > 0, 3:]
        for edge in range(4):
            assert same_distribution(ours[:, edge], erased_by_torchvision[:, edge])

    @pytest.mark.parametrize("size", [(256, 128), (80, 40), (8, 4), (4, 64)])
    def test_rectangles_lie_within_the_image(self, size):
        top, left, bottom, right = augment.draw(MANY, size, generator(2))[:, 3:].unbind(1)
        assert min(top.min(), left.min()) == 0
        assert (top <= bottom).all()
        assert (left <= right).all()
        assert bottom.max() <= size[0]
        assert right.max() <= size[1]

    @pytest.mark.parametrize("size", [(256, 128), (80, 40)])
    def test_erased_areas_are_between_2_and_40_percent(self, size):
        area, aspect = shapes(augment.draw(MANY, size, generator(3))[:, 3:])
        share = area[area > 0] / (size[0] * size[1])
        assert share.min() == pytest.approx(0.02, rel=0.15)
        assert share.max() == pytest.approx(0.4, rel=0.05)
        assert aspect[area > 0].abs().max() < 1.3
