"""Perturbations as files of other tools: there and back within the stated bound, and what other tools make of them."""

import os
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from reid import UsageError, attacks
from reid.attacks import Threat
from reid.attacks.base import HALF_LEVEL
from reid.attacks.conversion import convert
from reid.attacks.convert import main
from reid.attacks.formats import FORMATS, POINTS
from reid.runtime.files import sha256

EPS = 8 / 255
SIZE = (16, 8)
KINDS = list(FORMATS)
HOLDS = {"npy": 2, "tensor": 2, "png": 2, "cube": 1}  # the noise type that comes back
PAIRS = [(kind, each) for kind in KINDS for each in (0, 1, 2) if {each, HOLDS.get(kind, each)} != {1, 2}]
BOUNDS = dict.fromkeys(KINDS, 0.0) | {"png": EPS / 254}


@pytest.fixture
def source(tmp_path):
    """`source(noise_type)`: the path of a file of ours with random values in the whole budget."""

    def write(noise_type, eps=EPS, corners=False):
        noise = attacks.create(noise_type, eps, eps, *SIZE, side="gallery")
        noise.randomise_(torch.Generator().manual_seed(noise_type), corners)
        return attacks.save(tmp_path / f"type{noise_type}.pth", noise, {"recipe": "random"})

    return write


def components(noise):
    """Values by component, whatever the noise type."""
    return {layer.component: value.detach() for layer in noise.layers() for value in layer.parameters()}


class TestThereAndBack:
    @pytest.mark.parametrize(("kind", "noise_type"), PAIRS)
    def test_is_the_same_within_the_stated_bound(self, kind, noise_type, source, tmp_path):
        original = attacks.load(source(noise_type))
        line = convert(source(noise_type), kind, tmp_path / "new")
        again = attacks.load(tmp_path / "new", eps=EPS)
        assert again.noise_type == HOLDS.get(kind, noise_type)
        for component, value in components(again).items():
            gap = (value - components(original)[component]).abs().max().item()
            assert gap <= BOUNDS[kind] * (1 + 1e-4)
            assert (gap > 0) == (kind == "png")
        assert all((box.lower <= value).all() and (value <= box.upper).all() for value, box in boxed(again))
        assert f"{tmp_path / 'new'} holds " in line
        for component, words in {"color": "the colour table", "delta": "the additive image"}.items():
            dropped = component in components(original) and component not in components(again)
            assert (f"not in it: {words}" in line) == dropped

    def test_only_an_attacker_file_keeps_threat_and_provenance(self, source, tmp_path):
        original = attacks.load(source(0))
        for kind in KINDS:
            line = convert(source(0), kind, tmp_path / kind)
            again = attacks.load(tmp_path / kind, eps=EPS)
            kept = (again.threat, again.provenance) == (original.threat, {"recipe": "random"})
            assert kept == (kind == "attacker") == ("how it was made;" not in line)
            assert (f"its threat ({original.threat.label})" in line) == (not kept)
            assert line.endswith(f"--attack {tmp_path / kind}" + ("" if kept else " --eps 8/255"))

    def test_a_foreign_file_is_named_in_the_attacker_file_that_is_made_of_it(self, source, tmp_path):
        convert(source(2), "npy", tmp_path / "uap.npy")
        convert(tmp_path / "uap.npy", "attacker", tmp_path / "uap.pth")
        made_of = {"converted_from": "uap.npy", "sha256": sha256(tmp_path / "uap.npy")}
        assert attacks.load(tmp_path / "uap.pth").provenance == made_of

    @pytest.mark.parametrize("kind", KINDS)
    def test_another_budget_is_kept_to(self, kind, source, tmp_path):
        convert(source(0), kind, tmp_path / "new", eps="3/255")
        again = attacks.load(tmp_path / "new", eps="3/255")
        assert all(box.eps == 3 / 255 for _, box in boxed(again))
        largest = again.measure(torch.rand(2, 3, *SIZE))
        assert 2.9 / 255 < max(largest["color"], largest["delta"]) <= 3 / 255 + 1e-6

    def test_a_released_file_is_a_bare_state_dict_with_its_keys(self, released, tmp_path):
        for noise_type in (0, 1, 2):
            convert(released(noise_type), "released", tmp_path / "bare.pth")
            states = [torch.load(path, "cpu") for path in (released(noise_type), tmp_path / "bare.pth")]
            theirs, ours = ({name: value.shape for name, value in state.items()} for state in states)
            assert ours == theirs

    def test_the_same_perturbation_gives_the_same_bytes(self, source, tmp_path):
        for kind in KINDS:
            convert(source(0), kind, tmp_path / "a"), convert(source(0), kind, tmp_path / "b")
            assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def boxed(noise):
    return [(value, noise.boxes()[name]) for name, value in noise.named_parameters()]


class TestOtherTools:
    """What they read is what we mean."""

    def test_numpy_and_torch_read_the_additive_image(self, source, tmp_path):
        convert(source(2), "npy", tmp_path / "u.npy")
        convert(source(2), "tensor", tmp_path / "u.pt")
        array, tensor = np.load(tmp_path / "u.npy"), torch.load(tmp_path / "u.pt", weights_only=True)
        delta = attacks.load(source(2)).delta.detach()[0]
        assert (array.dtype, array.shape, tensor.dtype) == (np.float32, (3, *SIZE), torch.float32)
        assert np.array_equal(array, delta.numpy())
        assert torch.equal(tensor, delta)

    def test_a_picture_has_grey_128_for_no_change_and_127_levels_to_the_budget(self, source, tmp_path):
        delta = np.array([[-8, 8, 0, 0], [4, -4, 8 / 127, 0]], np.float32)[None].repeat(3, 0) / 255
        delta[1], delta[2] = 0, -delta[2]
        np.save(tmp_path / "u.npy", delta)
        convert(tmp_path / "u.npy", "png", tmp_path / "u.png", eps=EPS)
        picture = Image.open(tmp_path / "u.png")
        red, green, blue = np.asarray(picture).transpose(2, 0, 1)
        assert picture.mode == "RGB"
        assert red.tolist() == [[1, 255, 128, 128], [192, 64, 129, 128]]
        assert green.tolist() == [[128] * 4] * 2
        assert blue.tolist() == [[255, 1, 128, 128], [64, 192, 127, 128]]

    def test_a_cube_file_lists_red_fastest(self, source, tmp_path):
        convert(source(1), "cube", tmp_path / "c.cube")
        table = components(attacks.load(source(1)))["color"][0]
        points, colours = parsed(tmp_path / "c.cube")
        assert (points, len(colours)) == (25, 25**3)
        for place, (red, green, blue) in {1: (1, 0, 0), 25: (0, 1, 0), 625: (0, 0, 1), 1931: (6, 2, 3)}.items():
            assert np.array_equal(colours[place].astype(np.float32), table[red, green, blue].numpy())

    @pytest.mark.parametrize("points", POINTS)
    def test_25_and_49_points_hold_half_a_grey_level_and_17_and_33_do_not(self, points, source, tmp_path):
        """On random images, under a literal reading of the file; the line states how far it can be at most."""
        line = convert(source(1, corners=True), "cube", tmp_path / "c.cube", points=points)
        noise = attacks.load(source(1, corners=True))
        images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        images[0] = (images[0] * 24).round() / 24  # at the nodes of ours
        images[1] = (images[1] * 255).round() / 255
        with torch.no_grad():
            ours = noise(images).permute(0, 2, 3, 1).numpy()
        gap = np.abs(literal(tmp_path / "c.cube", images.permute(0, 2, 3, 1).numpy()) - ours).max()
        if points in (25, 49):
            assert gap < 1e-6 < HALF_LEVEL
        else:
            assert HALF_LEVEL < gap <= float(re.search(r"differs by up to ([\d.]+)/255", line)[1]) / 255 + 1e-6
            assert gap > (6 / 255 if points == 17 else 4 / 255)

    def test_an_image_editor_makes_the_same_of_it_up_to_rounding(self, source, tmp_path):
        """Pillow's own table filter, on 8 bits."""
        convert(source(0), "cube", tmp_path / "c.cube")
        points, colours = parsed(tmp_path / "c.cube")
        pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)
        theirs = Image.fromarray(pixels).filter(ImageFilter.Color3DLUT(points, colours.ravel().tolist()))
        with torch.no_grad():
            ours = attacks.load(source(0)).layers()[0](torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
        gap = np.asarray(theirs) - ours[0].permute(1, 2, 0).numpy() * 255
        assert np.abs(gap).max() < 0.6


def parsed(path):
    """The points along a side and the colours (n, 3) of a .cube file that we wrote."""
    lines = [line.split() for line in path.read_text().splitlines()]
    head = {words[0]: words[1:] for words in lines if words[0][0].isalpha()}
    assert (head["DOMAIN_MIN"], head["DOMAIN_MAX"]) == (["0.0"] * 3, ["1.0"] * 3)
    return int(head["LUT_3D_SIZE"][0]), np.array([words for words in lines if not words[0][0].isalpha()], float)


def literal(path, images):
    """Images (..., 3) through a .cube file as its format says: the eight corners of the cell that a colour lies in."""
    points, colours = parsed(path)
    places = images.astype(float) * (points - 1)
    low = np.minimum(places.astype(int), points - 2)
    rest = places - low
    out = np.zeros_like(places)
    for corner in range(8):
        step = np.array([corner & 1, corner >> 1 & 1, corner >> 2])
        weight = np.where(step, rest, 1 - rest).prod(-1, keepdims=True)
        red, green, blue = np.moveaxis(low + step, -1, 0)
        out += weight * colours[red + points * green + points**2 * blue]
    return out


class TestUnitsAndSizes:
    SHAPE = (3, *SIZE)

    @pytest.mark.parametrize(
        ("unit", "scale"), [("image", 1), ("grey", 1 / 255), ("eps", EPS), ("imagenet", [0.229, 0.224, 0.225])]
    )
    def test_a_stated_unit_is_believed(self, unit, scale, tmp_path, caplog):
        caplog.set_level("INFO")
        wanted = np.random.default_rng(0).uniform(-EPS, EPS, self.SHAPE)
        np.save(tmp_path / "u.npy", wanted / np.reshape(scale, (-1, 1, 1)))
        convert(tmp_path / "u.npy", "attacker", tmp_path / "u.pth", unit=unit, eps=EPS)
        found = attacks.load(tmp_path / "u.pth").delta.detach()[0].numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-7)
        assert "u.npy is taken with the channels first, in " in caplog.text

    def test_a_unit_that_was_certain_to_be_another_is_believed_too(self, tmp_path):
        np.save(tmp_path / "u.npy", np.full(self.SHAPE, 3, np.uint8))  # one sign: of no certain unit
        assert attacks.load(tmp_path / "u.npy", unit="grey").delta.max().item() == pytest.approx(3 / 255)

    def test_bad_units_are_refused(self, source, tmp_path):
        convert(source(2), "npy", tmp_path / "u.npy")
        convert(source(2), "png", tmp_path / "u.png")
        convert(source(1), "cube", tmp_path / "c.cube")
        with pytest.raises(UsageError, match="no unit of a perturbation is called 'gray'; did you mean grey"):
            attacks.load(tmp_path / "u.npy", unit="gray")
        with pytest.raises(UsageError, match="need one above 0; give it as --eps"):
            attacks.load(tmp_path / "u.npy", unit="eps")
        for path in (source(0), tmp_path / "u.png", tmp_path / "c.cube"):
            with pytest.raises(UsageError, match=r"is no plain array, .* leave --unit out"):
                attacks.load(path, EPS, "grey")

    @pytest.mark.parametrize("noise_type", [0, 2])
    def test_the_additive_image_is_resized_as_images_of_that_size_would_have_it(self, noise_type, source, tmp_path):
        original = attacks.load(source(noise_type))
        convert(source(noise_type), "attacker", tmp_path / "new", size=(40, None))
        again = attacks.load(tmp_path / "new")
        images = torch.rand(2, 3, 40, 8)
        torch.testing.assert_close(again(images), original(images), rtol=0, atol=1e-6)
        assert (again.threat, again.provenance) == (original.threat, original.provenance)
        assert components(again)["delta"].shape == (1, 3, 40, 8)


class TestWhatCannotBe:
    def test_a_component_that_the_file_cannot_hold(self, source, tmp_path):
        for kind in ("npy", "tensor", "png"):
            with pytest.raises(UsageError, match=r"additive image, and noise type 1 .* be attacker, released, cube"):
                convert(source(1), kind, tmp_path / "new")
        with pytest.raises(UsageError, match=r"cube is a file of the colour table, and .* npy, tensor, png"):
            convert(source(2), "cube", tmp_path / "new")
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(
        ("noise_type", "kind", "settings", "words"),
        [
            (0, "pngg", {}, "no kind of perturbation file is called 'pngg'; did you mean png"),
            (1, "cube", {"points": 18}, "--points is for --to cube, and one of 17, 25, 33, 49"),
            (1, "released", {"points": 17}, "--points is for --to cube"),
            (1, "cube", {"size": (8, None)}, "--height and --width are those of an additive image"),
            (2, "png", {"eps": 0}, "this one is 0; choose another --to"),
        ],
    )
    def test_is_refused_with_nothing_written(self, noise_type, kind, settings, words, source, tmp_path):
        with pytest.raises(UsageError, match=words):
            convert(source(noise_type), kind, tmp_path / "new", **settings)
        assert os.listdir(tmp_path) == [f"type{noise_type}.pth"]

    def test_a_picture_says_no_budget(self, source, tmp_path):
        convert(source(2), "png", tmp_path / "u.png")
        with pytest.raises(UsageError, match=r"give it as --eps 8/255, or make an attacker file of it: python -m"):
            attacks.load(tmp_path / "u.png")
        with pytest.raises(UsageError, match="a budget of 0 is no unit"):
            attacks.load(tmp_path / "u.png", 0)

    @pytest.mark.parametrize("kind", KINDS)
    def test_writing_that_fails_leaves_the_old_file(self, kind, source, tmp_path, monkeypatch):
        path = source(0)
        (tmp_path / "new").write_text("old")

        def fail(*_, **__):
            raise OSError("disk full")

        for place in ("torch.save", "numpy.save", "PIL.Image.Image.save", "pathlib.Path.write_text"):
            monkeypatch.setattr(place, fail)
        with pytest.raises(OSError, match="disk full"):
            convert(path, kind, tmp_path / "new")
        monkeypatch.undo()
        assert (tmp_path / "new").read_text() == "old"
        assert sorted(os.listdir(tmp_path)) == ["new", "type0.pth"]


class TestCommand:
    def test_converts_and_says_what_it_wrote(self, source, tmp_path, capsys):
        main([str(source(0)), "--to", "cube", "--points", "17", "--out", str(tmp_path / "new" / "c.cube")])
        line = capsys.readouterr().out
        assert re.search(r"c.cube holds the colour table, 17 points a side, with which .* up to \d+\.\d+/255", line)
        assert line.count("\n") == 1

    def test_takes_every_option(self, tmp_path):
        np.save(tmp_path / "u.npy", np.random.default_rng(0).uniform(-1, 1, (3, *SIZE)))
        sizes = ["--height", "4", "--width", "6", "--eps", "4/255", "--unit", "eps"]
        main([str(tmp_path / "u.npy"), "--to", "attacker", "--out", str(tmp_path / "u.pth"), *sizes])
        noise = attacks.load(tmp_path / "u.pth")
        assert noise.threat == Threat(0, 4 / 255)
        assert noise.delta.shape == (1, 3, 4, 6)

    def test_what_is_there_stays(self, source, tmp_path):
        options = [str(source(1)), "--to", "cube", "--out", str(tmp_path / "c.cube")]
        (tmp_path / "c.cube").write_text("mine")
        with pytest.raises(UsageError, match="is there already; give another --out, or --overwrite"):
            main(options)
        assert (tmp_path / "c.cube").read_text() == "mine"
        main([*options, "--overwrite"])
        assert parsed(tmp_path / "c.cube")[0] == 25
        with pytest.raises(UsageError, match="is there already"):
            main([*options[:-1], str(tmp_path), "--overwrite"])
