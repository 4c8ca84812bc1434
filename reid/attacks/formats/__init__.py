"""Files that hold a universal perturbation, or a part of one, for other tools. Adding a kind is a file here and a line
in FORMATS. Without torch."""

from typing import TYPE_CHECKING

from reid.runtime.registry import Registry

if TYPE_CHECKING:
    from reid.attacks.formats.base import Format

FORMATS: Registry["Format"] = Registry(
    "kind of perturbation file",
    {
        "attacker": ("reid.attacks.formats.states:ATTACKER", "all of it, as metaAttack.py writes it"),
        "released": ("reid.attacks.formats.states:RELEASED", "a bare state dict, for the released code"),
        "npy": ("reid.attacks.formats.arrays:NPY", "the additive image as an array of numpy"),
        "tensor": ("reid.attacks.formats.arrays:TENSOR", "the additive image as torch.save writes a tensor"),
        "png": ("reid.attacks.formats.png:PNG", "the additive image to look at, with 8 bits"),
        "cube": ("reid.attacks.formats.cube:CUBE", "the colour table, as image editors and ffmpeg read it"),
    },
)
UNITS = {  # of a plain array, which does not say its own
    "image": "image units, where 1 is white",
    "grey": "grey levels, where 255 is white",
    "eps": "multiples of the budget",
    "imagenet": "ImageNet's deviations, as images that were normalised",
}
POINTS = (17, 25, 33, 49)  # along a side of a .cube file; of 25 and 49, the nodes of our table are among them
