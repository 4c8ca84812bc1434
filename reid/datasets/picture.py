"""Picture files: which ones are taken, and how their pixels become RGB with 8 bits."""

import contextlib
import functools
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from reid.errors import DatasetError

RULES = 2  # the number of the rules below; where pixels of any file change, it does, and decoded images are made again
# Of what Pillow opens, still pictures that it decodes itself. Formats that are told by their bytes come first.
_FORMATS = (
    "JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF",
    "DIB", "QOI", "SGI", "SUN", "PCX", "PSD", "ICO", "DDS", "TGA",
)  # fmt: skip
_BITS, _WHITE = 258, 262  # TIFF tags: bits of a pixel, and whether 0 is white (0) or black (1)
RESTORE = "restore it, or convert the dataset again"
_AS_ANOTHER = "save it as JPEG or PNG"
_STRANGERS = {
    rb".{4}ftyp(hei|hev|mif1|msf1)": f"a HEIC photo; {_AS_ANOTHER}",
    rb"\xff\x0a|\0\0\0\x0cJXL ": f"a JPEG XL image; {_AS_ANOTHER}",
    rb"%PDF|%!PS|\s*<(\?xml|svg)": f"a document or a drawing; {_AS_ANOTHER}",
    rb"(?i)\s*<(!doctype )?html": "a web page, as a failed download leaves it; get the image again",
    rb"version https://git-lfs": "a pointer of Git LFS; run git lfs pull",
}


class ForeignError(ValueError):
    """A file that may be healthy: what it is, and how to make it one that is taken."""


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@functools.cache
def _suffixes() -> frozenset[str]:
    taken = {suffix for suffix, name in Image.registered_extensions().items() if name in _formats()}
    return frozenset(taken | {".mpo"})


def is_picture(name: str) -> bool:
    """Whether the suffix, in any case, is one of a format that is taken."""
    return name[name.rfind(".") :].lower() in _suffixes()


def read_rgb(path: str) -> Image.Image:
    """The picture in a file as RGB with 8 bits: upright, the first of several, 16 bits rounded to 8, alpha dropped.

    Raises DatasetError naming a file that cannot be read, and one whose pixels have no known black and white.
    """
    return _read(path, path, RESTORE, reduced=False)


def check(path: str | Path, called: str) -> None:
    """Raise DatasetError, with the name under which the user knows the file, where `read_rgb` would."""
    _read(path, called, "get the dataset again, or remove that file", reduced=True)


def _read(path: str | Path, called: str, remedy: str, reduced: bool) -> Image.Image:
    try:
        with Image.open(path, formats=_formats()) as picture:
            if reduced:
                picture.draft("RGB", (1, 1))  # the smallest scale: cheap, and a truncated file shows
            picture.load()
            return _rgb(picture)
    except Exception as error:  # a damaged file makes Pillow's decoders raise anything
        foreign = str(error) if isinstance(error, ForeignError) else ""
        if isinstance(error, UnidentifiedImageError):
            foreign = _stranger(path)
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
        problem = f"{called} cannot be read as an image"
        raise DatasetError(f"{problem}: it is {foreign}" if foreign else f"{problem} ({reason}); {remedy}") from error


def _stranger(path: str | Path) -> str:
    with open(path, "rb") as file:
        start = file.read(64)
    return next((words for pattern, words in _STRANGERS.items() if re.match(pattern, start, re.DOTALL)), "")


def _rgb(picture: Image.Image) -> Image.Image:
    with contextlib.suppress(Exception):  # a damaged tag turns nothing: the picture is whole
        ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        picture = _grey(picture)
    elif picture.mode in ("I", "F"):
        raise ForeignError("of 32-bit numbers, whose white is not known; save it with 8 or 16 bits")
    picture.info.pop("transparency", None)  # of a palette, which Pillow would warn of
    return picture.convert("RGB")


def _grey(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of 12 as some TIFF files have it, rounded to 8."""
    tags = getattr(picture, "tag_v2", {})
    white = 2 ** tags.get(_BITS, (16,))[0] - 1
    levels = (510 * np.asarray(picture).astype(np.uint32) + white) // (2 * white)
    return Image.fromarray((255 - levels if tags.get(_WHITE) == 0 else levels).astype(np.uint8))
