"""Which preprocessing a model of unknown origin wants: the one under which it recognises people best."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from reid.datasets import Sample
from reid.evaluation.distances import DistanceSource
from reid.evaluation.features import ids_of
from reid.evaluation.retrieval import Retrieval
from reid.loading import Images, ImageStore
from reid.models.victim import Victim
from reid.runtime.device import Compute

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
    lines = ["  preprocessing                mAP   rank-1"]
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
