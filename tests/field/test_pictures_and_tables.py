"""Perturbations as PNG pictures and .cube files, as other programs write them, and damaged: used, or refused."""

import io
import itertools
import re
import struct
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from reid import attacks

EPS = 10 / 255
LEVELS = np.random.default_rng(0).integers(1, 256, (8, 4, 3), np.uint8)
LEVELS[0, 0] = 1, 255, 128
DELTA = ((LEVELS.astype(np.float32) - 128) / 127 * EPS).transpose(2, 0, 1)
RGB = Image.fromarray(LEVELS)


def png(image=RGB, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def sixteen_bits():
    """RGB with 16 bits, which Pillow reads but does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in LEVELS.astype(np.uint16) * 257)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 4, 8, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def huge():
    """A header that promises more pixels than any memory holds."""
    content = bytearray(png())
    content[16:24] = struct.pack(">II", 10**6, 10**6)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def cube(points=2, table=lambda colour: colour, head="LUT_3D_SIZE {}", end="\n"):
    """The text of a table, red fastest; `table` gives the output of a colour (r, g, b)."""
    sides = [i / (points - 1) for i in range(points)]
    colours = (table((red, green, blue)) for blue, green, red in itertools.product(sides, repeat=3))
    return end.join([head.format(points), *(" ".join(map(str, colour)) for colour in colours)]) + end


def warmer(colour):
    return (min(1, colour[0] + 4 / 255), *colour[1:])


HEADS = 'TITLE "a #1 LUT"\n# made by hand\n\nDOMAIN_MIN 0 0 0\nLUT_3D_SIZE {}\nDOMAIN_MAX 1.0 1 1e0\n# go'
PICTURES = {  # name -> (name of the file, content)
    "a picture": ("u.png", png()),
    "capitals": ("U.PNG", png()),
    "another suffix": ("u.pth", png()),
    "interlaced, with notes": ("u.png", png(dpi=(72, 72), optimize=True)),
}
TABLES = {
    "2 points": ("c.cube", cube(2, warmer)),
    "25 points": ("c.cube", cube(25, warmer)),
    "33 points": ("c.cube", cube(33, warmer)),
    "65 points": ("c.cube", cube(65, warmer)),
    "comments, title, domain": ("c.cube", cube(5, warmer, HEADS)),
    "Windows": ("c.CUBE", "\ufeff" + cube(5, warmer, end="\r\n")),
    "Resolve": ("c.cube", cube(5, warmer, "LUT_3D_SIZE {}\nLUT_3D_INPUT_RANGE 0.0 1.0")),
    "a title in Latin 1": ("c.cube", ('TITLE "Frühling"\n' + cube(5, warmer)).encode("latin1")),
    "another suffix": ("c.txt", cube(5, warmer)),
    "tabs and spaces": ("c.cube", cube(5, warmer).replace(" ", " \t ")),
    "a last line without end": ("c.cube", cube(5, warmer).strip()),
    "colours beyond the range": ("c.cube", cube(5, lambda c: (c[0] + 4 / 255, *c[1:]))),
}
REFUSED = {  # name -> (name of the file, content, words)
    "a cut picture": ("u.png", png()[:-40], "PNG picture, but damaged"),
    "cut after the header": ("u.png", png()[:33], "PNG picture, but damaged"),
    "cut in the header": ("u.png", png()[:20], "PNG picture, but damaged"),
    "a signature alone": ("u.png", png()[:8], "PNG picture, but damaged"),
    "a flipped byte": ("u.png", png()[:60] + b"\xff" + png()[61:], "PNG picture, but damaged"),
    "transparent": ("u.png", png(RGB.convert("RGBA")), "not RGB with 8 bits"),
    "grey": ("u.png", png(RGB.convert("L")), "not RGB with 8 bits"),
    "a palette": ("u.png", png(RGB.quantize(8)), "not RGB with 8 bits"),
    "16 bits": ("u.png", sixteen_bits(), "not RGB with 8 bits"),
    "huge": ("u.png", huge(), "1000000 x 1000000; up to 4096 x 4096"),
    "a photo": ("u.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "picture or a document"),
    "empty": ("c.cube", "", "is empty"),
    "a web page": ("c.cube", "<!doctype html><html>404</html>", "web page"),
    "bytes": ("c.cube", bytes(range(200, 256)) * 9, r"line 1 is not one of a colour table"),
    "a header alone": ("c.cube", "LUT_3D_SIZE 25\n", "has 0 colours where LUT_3D_SIZE 25 needs 15,625"),
    "one colour less": ("c.cube", cube().rsplit("\n", 2)[0], "has 7 colours where LUT_3D_SIZE 2 needs 8"),
    "one colour more": ("c.cube", cube() + "1 1 1\n", "has 9 colours where LUT_3D_SIZE 2 needs 8"),
    "no size": ("c.cube", cube(head="# {}"), "line 2 is not one of .*has LUT_3D_SIZE, then"),
    "comments alone": ("c.cube", "# nothing\n", "no line says LUT_3D_SIZE"),
    "two sizes": ("c.cube", "LUT_3D_SIZE 2\n" + cube(), "line 2 is not one of"),
    "one point": ("c.cube", "LUT_3D_SIZE 1\n0 0 0\n", "line 1 has 1 points a side; 2 to 65"),
    "too many points": ("c.cube", "LUT_3D_SIZE 99999999999999999999\n", "points a side; 2 to 65"),
    "no number of points": ("c.cube", "LUT_3D_SIZE many\n", "line 1 is not one of .*'LUT_3D_SIZE many'"),
    "points below zero": ("c.cube", "LUT_3D_SIZE -2\n", "line 1 is not one of"),
    "one dimension": ("c.cube", "LUT_1D_SIZE 2\n0 0 0\n1 1 1\n", "line 1 is not one of .*'LUT_1D_SIZE 2'"),
    "a domain of HDR": (
        "c.cube",
        cube(head="LUT_3D_SIZE {}\nDOMAIN_MAX 4 4 4"),
        "line 2 sets another range than 0 to 1",
    ),
    "a domain of words": ("c.cube", cube(head="DOMAIN_MIN a b c\nLUT_3D_SIZE {}"), "line 1 sets another range"),
    "NaN": ("c.cube", cube().replace("1.0 1.0 1.0", "1.0 nan 1.0"), "line 9 is not one of .*'1.0 nan 1.0'"),
    "infinite": ("c.cube", cube().replace("1.0 1.0 1.0", "1.0 inf 1.0"), "line 9 is not one of"),
    "four numbers": ("c.cube", cube().replace("1.0 1.0 1.0", "1.0 1.0 1.0 1.0"), "line 9 is not one of"),
    "two numbers": ("c.cube", cube().replace("1.0 1.0 1.0", "1.0 1.0"), "line 9 is not one of"),
    "decimal commas": ("c.cube", cube().replace(".", ","), "line 2 is not one of"),
    "grey levels": ("c.cube", cube(2, lambda c: [255 * v for v in c]), "divide by 255 what is in grey levels"),
    "a long line": ("c.cube", "LUT_3D_SIZE 2\n" + "word " * 10**5, "line 2 is not one of"),
    "control letters": ("c.cube", "LUT_3D_SIZE 2\n\x1b[31mred\n", "line 2 is not one of"),
    "a huge file": ("c.cube", "LUT_3D_SIZE 2\n" + "#" * 30 * 2**20, "larger than a colour table .* of 65 points"),
    "another table": ("c.3dl", "3DMESH\nMesh 4 12\n", "is a text file"),
}


@pytest.fixture
def loaded(outcome, tmp_path):
    def load(name, content, eps="10/255"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return outcome(lambda: attacks.load(tmp_path / name, eps=eps))

    return load


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_is_an_additive_image_around_grey_128(kind, loaded):
    found = loaded(*PICTURES[kind])
    assert not found.refusal + found.counted
    np.testing.assert_allclose(found.value.delta.detach().numpy()[0], DELTA, atol=1e-8)


def test_level_0_is_the_budget_too(loaded):
    found = loaded("u.png", png(Image.new("RGB", (4, 8))))
    assert not found.counted
    assert found.value.delta.unique().tolist() == pytest.approx([-EPS])


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_gives_the_colours_that_it_lists(kind, loaded):
    found = loaded(*TABLES[kind])
    assert not found.refusal
    assert ("points a side" in found.counted) == (kind in ("33 points", "65 points"))  # they bend where ours does not
    image = torch.tensor([0.25, 0.5, 0.75]).reshape(1, 3, 1, 1).expand(1, 3, 8, 4)
    gain = (3 if kind == "2 points" else 4) / 255  # a line from black to white, which stays
    moved = (found.value(image) - image)[0, :, 0, 0].tolist()
    assert moved == pytest.approx([gain, 0, 0], abs=1e-6)


def test_a_film_look_is_cut_to_the_budget_with_a_word(loaded):
    found = loaded("c.cube", cube(5, lambda colour: (1 - colour[0], *colour[1:])))
    assert "c.cube changes images by up to 255/255; it is cut to 10/255" in found.counted
    assert found.value.measure(torch.rand(1, 3, 8, 4))["total"] <= EPS + 1e-6


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_what_is_wrong(kind, loaded):
    name, content, words = REFUSED[kind]
    begin = time.monotonic()
    found = loaded(name, content)
    assert name in found.refusal
    assert re.search(words, found.refusal), found.refusal
    assert time.monotonic() - begin < 10
