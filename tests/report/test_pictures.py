"""Pictures: what they show is what was computed."""

import numpy as np
import pytest
import torch

from reid import attacks
from reid.attacks.shown import magnified_difference
from reid.loading.encode import to_image
from reid.report import canvas, pictures


def test_a_tensor_becomes_the_same_pixels():
    pixels = torch.randint(0, 256, (3, 5, 4))
    image = np.asarray(to_image(pixels / 255))
    assert np.array_equal(image, pixels.permute(1, 2, 0).numpy())


def test_rows_and_columns_keep_every_panel():
    panels = [canvas.thumbnail(to_image(torch.full((3, 8, 4), v)), 16, canvas.RED) for v in (0.2, 0.8)]
    side, under = canvas.row(panels), canvas.column(panels)
    assert side.size == (panels[0].width * 2 + canvas.GAP, panels[0].height)
    assert under.size == (panels[0].width, panels[0].height * 2 + canvas.GAP)
    for joined in (side, under):
        shades = {colour for _, colour in joined.getcolors()}
        assert {(51, 51, 51), (204, 204, 204), canvas.RED} <= shades


def test_the_difference_is_magnified_around_grey():
    images, perturbed = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), 0.5 + 4 / 255)
    assert magnified_difference(images, perturbed)[0, 0, 0, 0] == pytest.approx(0.5 + 32 / 255, abs=1e-6)


def test_only_a_colour_component_has_a_colour_panel():
    shown = [pictures.colour_table_panel(attacks.create(noise_type, height=8, width=4)) for noise_type in (0, 1, 2)]
    assert [panel is not None for panel in shown] == [True, True, False]


def test_the_colour_panel_is_drawn_on_the_device_of_the_perturbation():
    with pytest.raises(NotImplementedError, match="meta"):  # computed there, refused only when read back as a picture
        pictures.colour_table_panel(attacks.create(1).to("meta"))
