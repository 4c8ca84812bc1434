"""What a model does with three drawn images: proof that it gives features, and a fingerprint of its behaviour."""

import hashlib
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.errors import ReidError, UsageError, few
from reid.models.drawn import drawn_images
from reid.models.inputs import preprocessing
from reid.models.readings import PREPROCESSINGS
from reid.models.victim import Victim

SAME = 1e-4  # relative difference up to which features count as equal
ALIKE = 0.98  # cosine above which features of different images hardly differ


def fingerprint(victim: Victim) -> str:
    """Twelve hexadecimal digits that tell how a model behaves: its features of drawn images, at unit length, to three
    digits. Weights, preprocessing and choice of the output all change it, and how images are resized, if they are."""
    height, width = victim.input.size
    larger = 1 if victim.input.resize is None else 2
    features = _features(victim, drawn_images(larger * height, larger * width)).double()
    rounded = np.round(F.normalize(features).cpu().numpy(), 3) + 0.0  # no negative zeros
    return hashlib.sha256(rounded.astype("<f4").tobytes()).hexdigest()[:12]


def described(victim: Victim) -> dict[str, Any]:
    """What results say of a model."""
    known: dict[str, Any] = {"arch": victim.arch, "sha256": victim.sha256, "reading": victim.reading}
    known["introduction"] = victim.introduction
    return known | {"input": asdict(victim.input), "fingerprint": victim.fingerprint or fingerprint(victim)}


def introduction(victim: Victim, kind: str, loaded: str) -> list[str]:
    """Two lines: which network it is, and what became of the weights in its file; what it gives, and takes."""
    network = ", ".join(filter(None, [victim.arch, kind]))
    feature = f"feature of width {victim.feature_dim}, {victim.output or victim.feature}"
    reading = f"images {victim.input.words} ({victim.reading})"
    return [
        f"{network}; {loaded or 'as its code makes it'}",
        f"{feature}; {reading}; fingerprint {victim.fingerprint}",
    ]


def same_in_batches(victim: Victim) -> bool:
    """Whether a batch gives what its images give one by one. Raises UsageError as `troubles` does."""
    images = drawn_images(*victim.input.size)
    together = _features(victim, images)
    if not together.isfinite().all():
        broken = int((~together.isfinite()).any(1).sum())
        problem = f"gives features that are NaN or infinite for {broken} of {len(images)} drawn images"
        raise UsageError(f"{victim.name or victim.arch} {problem}; check the file and its input")
    return _same(torch.cat([_features(victim, image[None]) for image in images]), together)


def troubles(victim: Victim) -> list[str]:
    """What is wrong with a model, one sentence each; an empty list for one that behaves.

    Raises UsageError where it fails on drawn images.
    """
    first = _features(victim, drawn_images(*victim.input.size))
    lines = []
    if not repeats(victim):
        lines.append("gives other features each time; an attack on it needs averages, and scores vary")
    if (nearest := _least_cosine(first)) > ALIKE:
        problem = f"gives different images features that hardly differ (cosines above {nearest:.3f})"
        lines.append(f"{problem}; {_likely_cause(victim)}")
    if not victim.differentiable:
        lines.append("gives no gradients, or only zero or infinite ones: scores only")
    return lines


def repeats(victim: Victim) -> bool:
    """Whether the same image gives the same features again."""
    image = drawn_images(*victim.input.size)[:1]
    return _same(_features(victim, image), _features(victim, image))


def _likely_cause(victim: Victim) -> str:
    """What may be wrong with the input of a model whose features hardly differ: as which reading they differ most."""
    spread = {}
    for name in PREPROCESSINGS:
        other = Victim(victim.model, preprocessing(name, *victim.input.size, victim.input.resize))
        features = _features(other, drawn_images(*victim.input.size))
        spread[name] = _least_cosine(features), victim.input.differing(other.input)
    name = min(spread, key=lambda each: spread[each][0])
    (least, difference) = spread[name]
    if not least <= ALIKE or not difference:
        return "nor do they under any usual preprocessing: check its weights"
    return f"a wrong {difference} is the likely cause: as {name} they differ ({least:.2f}); see --preprocessing"


def _features(victim: Victim, images: Tensor) -> Tensor:
    """Raises UsageError for whatever a stranger's network raises."""
    try:
        with torch.no_grad():
            return victim(images.to(victim.layer.mean.device))
    except ReidError:
        raise
    except Exception as error:
        size = "x".join(map(str, images.shape))
        problem = f"fails on images {size}: {type(error).__name__}: {few([str(error)[:200]])}"
        raise UsageError(
            f"{victim.name or victim.arch} {problem}; --preprocessing NAME@HEIGHTxWIDTH gives another size"
        ) from error


def _least_cosine(features: Tensor) -> float:
    """Between any two of them."""
    unit = F.normalize(features.double())
    return float((unit @ unit.T).min())


def _same(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).abs().max() <= SAME * second.abs().max())
