"""How a model of unknown origin reads images: as it recognises people best.

A reading is NAME[/VARIANT], as `Source.victim` takes it: a usual preprocessing or "own", and one of the networks that
fit the keys.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from reid.datasets import Dataset, Sample
from reid.errors import UsageError, few
from reid.evaluation.distances import BY_NAME, DistanceSource
from reid.evaluation.features import ids_of
from reid.evaluation.retrieval import Retrieval, test_samples, validation_samples
from reid.loading import Images, ImageStore
from reid.models.readings import AUTO, OWN, PREPROCESSINGS
from reid.models.sources import Size, Source
from reid.models.victim import Victim
from reid.runtime.device import Compute

logger = logging.getLogger(__name__)

MOST, FEW = 800, 200  # images that are looked at; those of a first look at all readings
FAR = 0.15  # mAP by which a reading may lag in the first look
DRAWS, LEVEL = 2000, 0.95  # of the bootstrap over identities


class Finding(NamedTuple):
    """How well a model does under one reading of its input. `by_identity` has the mean AP of each pid's queries."""

    name: str
    mAP: float
    rank1: float
    by_identity: dict[int, float]
    collapsed: bool


class Verdict(NamedTuple):
    """The reading to use, those that are as good within the interval, and whether the choice is clear."""

    chosen: str
    close: list[str]
    clear: bool


def choose_victim(
    source: Source,
    reading: str | None,
    dataset: Dataset,
    compute: Compute,
    *,
    size: Size = (None, None),
    arch: str | None = None,
    distance: str | None = None,
    workers: int = 2,
) -> Victim:
    """An opened model as a victim with a reading; "auto", and None where it does not say its own, tries them.

    They are tried on query and gallery of the dataset, or its validation identities. Raises UsageError where no reading
    of a model without one of its own is better than the others.
    """
    if reading is None:
        reading = OWN if source.certain else AUTO
    if reading == AUTO:
        findings, own = examine(source, dataset, compute, size=size, distance=distance, workers=workers)
        verdict = conclude(findings, own)
        logger.info("%s\n%s", source.spec, table(findings, verdict, own))
        if not verdict.clear:
            names = few([verdict.chosen, *verdict.close])
            raise UsageError(
                f"{source.spec}: these readings are as good: {names}; choose one of them as --preprocessing NAME"
            )
        reading = verdict.chosen
    return source.victim(reading, size, arch).to(compute.device)


def examine(
    source: Source,
    dataset: Dataset,
    compute: Compute,
    *,
    size: Size = (None, None),
    distance: str | None = None,
    workers: int = 2,
) -> tuple[list[Finding], str | None]:
    """All readings of a model, the best first, and which of them is its own, if it says one."""
    sides = test_samples(dataset) if dataset.query else validation_samples(dataset)
    own = source.own(source.variants[0])
    names = ([OWN] if own else []) + [name for name in PREPROCESSINGS if own != source.reading(name, size)]
    names += [f"{OWN}/{variant}" for variant in source.variants[1:]]
    readings = {name: partial(source.victim, name, size) for name in names}
    distances = BY_NAME[distance or source.distance]
    return investigate(readings, sides, compute, distances, OWN if own else None, workers), OWN if own else None


def investigate(
    readings: Mapping[str, Callable[[], Victim]],
    sides: tuple[Sequence[Sample], Sequence[Sample]],
    compute: Compute,
    distances: DistanceSource,
    own: str | None = None,
    workers: int = 2,
) -> list[Finding]:
    """The readings of a model, by name, the best first: all on a few images, then those that are near it on more.

    A reading makes the victim that has it; `own` is that of the model's family. `sides` are query and gallery.
    """
    first = _scored(readings, _sample(sides, FEW), compute, distances, workers)
    left = {each.name for each in first if each.name == own or each.mAP >= first[0].mAP - FAR}
    near = {name: make for name, make in readings.items() if name in left}
    again = _scored(near, _sample(sides, MOST), compute, distances, workers)
    return again + [each for each in first if each.name not in left]


def conclude(findings: Sequence[Finding], own: str | None = None, seed: int = 0) -> Verdict:
    """A family's `own` reading, unless another is better beyond the interval over identities; else the best.

    Only a best that beats all others beyond the interval is clear.
    """
    best, *others = findings
    close = [other.name for other in others if not _beats(best, other, seed)]
    if own is None:
        return Verdict(best.name, close, not close)
    chosen = own if own in (best.name, *close) else best.name
    return Verdict(chosen, [name for name in (best.name, *close) if name != chosen], True)


def table(findings: Sequence[Finding], verdict: Verdict, own: str | None = None) -> str:
    """The findings as lines of text, the best first."""
    lines = ["  reading                      mAP   rank-1"]
    for finding in findings:
        marks = [
            *(["the family's own"] if finding.name == own else []),
            *(["chosen"] if finding.name == verdict.chosen and verdict.clear else []),
            *(["as good within the interval"] if finding.name in verdict.close else []),
            *(["its features hardly differ"] if finding.collapsed else []),
        ]
        lines.append(f"  {finding.name:<26} {finding.mAP:6.3f}   {finding.rank1:6.3f}   {', '.join(marks)}".rstrip())
    return "\n".join(lines)


def _scored(
    readings: Mapping[str, Callable[[], Victim]],
    sides: tuple[list[Sample], list[Sample]],
    compute: Compute,
    distances: DistanceSource,
    workers: int,
) -> list[Finding]:
    """Each reading scored on the samples, decoded at its own size."""
    stores: dict[tuple[int, int], tuple[ImageStore, ImageStore]] = {}
    findings = []
    for name, make in readings.items():
        victim = make().to(compute.device)
        size = victim.input.size
        if size not in stores:
            stores[size] = Images(*size, workers).stores(sides)
        ranking = Retrieval(victim, stores[size], compute.exact(), distances=distances).score().ranking
        pids = ids_of(sides[0])[0].numpy()[ranking.valid_queries]
        by_identity = {pid: ranking.average_precision[pids == pid].mean() for pid in np.unique(pids).tolist()}
        findings.append(Finding(name, ranking.mAP, ranking.cmc["market1501"][0], by_identity, ranking.collapsed))
    return sorted(findings, key=lambda finding: -finding.mAP)


def _beats(first: Finding, second: Finding, seed: int) -> bool:
    """Whether the mean over the identities that both have is higher beyond the paired bootstrap interval."""
    shared = sorted(first.by_identity.keys() & second.by_identity.keys())
    gaps = np.array([first.by_identity[pid] - second.by_identity[pid] for pid in shared])
    drawn = np.random.default_rng(seed).integers(len(gaps), size=(DRAWS, len(gaps)))
    return bool(np.quantile(gaps[drawn].mean(axis=1), (1 - LEVEL) / 2) > 0)


def _sample(sides: tuple[Sequence[Sample], Sequence[Sample]], most: int) -> tuple[list[Sample], list[Sample]]:
    """All, or images of query and gallery of whole identities, drawn with seed 0, which both sides know."""
    if sum(map(len, sides)) <= most:
        return list(sides[0]), list(sides[1])
    groups: dict[int, tuple[list[Sample], list[Sample]]] = defaultdict(lambda: ([], []))
    for side, samples in enumerate(sides):
        for sample in samples:
            groups[sample.pid][side].append(sample)
    pids = sorted(pid for pid, (query, gallery) in groups.items() if pid > 0 and query and gallery)
    chosen: tuple[list[Sample], list[Sample]] = ([], [])
    for pid in np.random.default_rng(0).permutation(pids).tolist():
        for part, samples in zip(chosen, groups[pid], strict=True):
            part.extend(samples)
        if sum(map(len, chosen)) >= most:
            break
    return chosen
