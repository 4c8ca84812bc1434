"""Attacks on each image by itself, by name. Adding one is a file here, or a plugin, and a line in IMAGE."""

from typing import TYPE_CHECKING

from reid.runtime.registry import Registry

if TYPE_CHECKING:
    from reid.attacks.image.linf import LInf

IMAGE: Registry[type["LInf"]] = Registry(
    "image attack",
    {
        "pgd": ("reid.attacks.image.pgd:PGD", "push each feature away from the clean one (PGD; SMA's objective)"),
        "fgsm": ("reid.attacks.image.fgsm:FGSM", "away from the matches in one step; knows the gallery"),
        "i-fgsm": ("reid.attacks.image.ifgsm:IFGSM", "away from the matches (AMA); knows the gallery"),
        "mi-fgsm": ("reid.attacks.image.mifgsm:MIFGSM", "the same with momentum; knows the gallery"),
        "sma": ("reid.attacks.image.sma:SMA", "away from the clean feature in steps of a grey level"),
        "odfa": ("reid.attacks.image.odfa:ODFA", "toward the opposite feature"),
        "lta": ("reid.attacks.image.lta:LTA", "away from the feature of the image with a patch in grey"),
        "fna": ("reid.attacks.image.fna:FNA", "away from the clean feature, toward the farthest training identity"),
        "fna-gallery": ("reid.attacks.image.fna:GalleryFNA", "as published: guides and identities of the gallery"),
        "nearest": ("reid.attacks.image.identities:Nearest", "toward the nearest training identity"),
        "farthest": ("reid.attacks.image.identities:Farthest", "toward the farthest training identity"),
        "cosine": ("reid.attacks.image.cosine:CentredCosine", "turn it away, seen from the middle of training images"),
        "smooth-ap": ("reid.attacks.image.ranking:SmoothAP", "lower the average precision; knows the gallery"),
        "margin": ("reid.attacks.image.ranking:Margin", "put strangers before the matches; knows the gallery"),
    },
)
