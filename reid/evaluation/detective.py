"""How a model of unknown origin reads images: as it recognises people best.

A reading is NAME[@HEIGHTxWIDTH][/VARIANT], as `Source.victim` takes it: a usual preprocessing or "own", perhaps another
size, and one of the networks that fit the keys.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from reid.datasets import Dataset, Sample
from reid.errors import ReidError, UsageError, few
from reid.evaluation import DISTANCES
from reid.evaluation.distances import BY_NAME
from reid.evaluation.features import extract, ids_of
from reid.evaluation.intervals import interval
from reid.evaluation.ranking import rank
from reid.evaluation.retrieval import first_of_each_camera, found_again
from reid.loading import Images, ImageStore
from reid.models.inputs import InputSpec
from reid.models.readings import AUTO, OWN, PREPROCESSINGS
from reid.models.sources import Size, Source
from reid.models.trial import ALIKE
from reid.models.victim import Victim
from reid.runtime.device import Compute
from reid.runtime.progress import progress, stage

logger = logging.getLogger(__name__)

MOST, FEW = 800, 200  # images that are looked at; those of a first look at all readings
FAR = 0.15  # mAP by which a reading may lag in the first look
FEWEST = 5  # identities without which nothing is decided
REMEDY = "give --preprocessing NAME, or a dataset of people who are seen by two cameras"
SIZES = ((256, 128), (384, 128), (128, 64), (224, 224))  # that are tried where nobody knows the size


class Finding(NamedTuple):
    """How well a model does under one reading of its input. `by_identity` has the mean AP of each pid's queries,
    `alike` is the mean cosine between features of different people, `others` the mAP by distances that are not used.
    `far`: all of this is on fewer images, on which others do far better."""

    name: str
    input: InputSpec
    mAP: float
    rank1: float
    by_identity: dict[int, float]
    alike: float
    others: Mapping[str, float] = {}
    far: bool = False

    @property
    def collapsed(self) -> bool:
        return self.alike > ALIKE


class Verdict(NamedTuple):
    """The reading to use, those that are as good within the interval, whether the choice is clear, and the reading that
    the model's file or family has."""

    chosen: str
    close: list[str]
    clear: bool
    own: str | None = None


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

    They are tried on query and gallery of the dataset, or its training people. Raises UsageError where no reading of a
    model without one of its own is better than the others.
    """
    close: list[str] = []
    if reading is None:
        reading = OWN if source.certain else AUTO
    if reading == AUTO:
        findings, verdict = examine(source, dataset, compute, size=size, distance=distance, workers=workers)
        logger.info("%s: clean mAP on images of %s, as it reads them", source.spec, dataset.name)
        for line in table(findings, verdict):
            logger.info("%s", line)
        if not verdict.clear:
            names = few([verdict.chosen, *verdict.close])
            raise UsageError(
                f"{source.spec}: these readings are as good: {names}; choose one of them as --preprocessing NAME"
            )
        reading, close = verdict.chosen, verdict.close
    victim = source.victim(reading, size, arch).to(compute.device)
    victim.close = tuple(close)
    return victim


def examine(
    source: Source,
    dataset: Dataset,
    compute: Compute,
    *,
    size: Size = (None, None),
    distance: str | None = None,
    workers: int = 2,
) -> tuple[list[Finding], Verdict]:
    """All readings of a model, the best first, and which one to use. Where nobody knows the size of its images, usual
    sizes are tried with that one.

    Raises UsageError where the dataset cannot tell readings apart, or the model works under none.
    """
    sides = _people(dataset)
    own = source.own(source.variants[0])
    others = [name for name in PREPROCESSINGS if own is None or source.reading(name, size).usual != own.usual]
    names = [*([OWN] if own else []), *others, *(f"{OWN}/{variant}" for variant in source.variants[1:])]

    def found(names: Iterable[str], usual: str | None) -> tuple[list[Finding], Verdict]:
        readings = {name: partial(source.candidate, name, size) for name in names}
        findings = investigate(readings, sides, compute, distance or source.distance, usual, workers)
        return findings, conclude(findings, usual)

    findings, verdict = found(names, OWN if own else None)
    if verdict.clear and source.any_size and size == (None, None):
        usual = next(each.input.size for each in findings if each.name == verdict.chosen)
        sizes = [f"{verdict.chosen}@{height}x{width}" for height, width in SIZES if (height, width) != usual]
        more, of_sizes = found([verdict.chosen, *sizes], verdict.chosen)
        findings = sorted({e.name: e for e in [*findings, *more]}.values(), key=lambda each: (each.far, -each.mAP))
        verdict = verdict._replace(chosen=of_sizes.chosen, close=verdict.close + of_sizes.close)
    return findings, verdict


def tells_apart(dataset: Dataset) -> int:
    """How well readings can be told apart on its images: people to find again, up to as many as it takes."""
    sides = (dataset.query, dataset.gallery), (dataset.trainval, dataset.trainval)
    return min(FEWEST, max(len(found_again(*each)) for each in sides))


def _people(dataset: Dataset) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Query and gallery, or training people where those are too few. Raises UsageError where nobody is found again."""
    sides: tuple[Sequence[Sample], Sequence[Sample]] = (dataset.query, dataset.gallery)
    trained = first_of_each_camera(dataset.trainval), dataset.trainval
    found, more = (len(found_again(*each)) for each in (sides, trained))
    if found < min(FEWEST, more):
        logger.info("%s has too few test people, so readings are tried on its training people", dataset.name)
        sides, found = trained, more
    if not found:
        problem = f"nobody on the images of {dataset.name} is known to be under two cameras"
        raise UsageError(f"{problem}, so they cannot tell readings apart; {REMEDY}")
    if found < FEWEST:
        logger.warning("%s has %d identities to find again, too few to tell readings apart", dataset.name, found)
    return sides


def investigate(
    readings: Mapping[str, Callable[[], Victim]],
    sides: tuple[Sequence[Sample], Sequence[Sample]],
    compute: Compute,
    distance: str,
    own: str | None = None,
    workers: int = 2,
) -> list[Finding]:
    """The readings of a model, by name, the best first: all on a few images, then those that are near it on more.

    A reading makes the victim that has it; `own` is that of the model's family. `sides` are query and gallery,
    `distance` is a name of DISTANCES.
    """
    with stage():
        small = sum(map(len, sides)) <= FEW
        with stage(1.0 if small else 0.5):
            first = _scored(readings, _sample(sides, FEW), compute, distance, workers)
        if small:
            return first
        left = {each.name for each in first if each.name == own or each.mAP >= first[0].mAP - FAR}
        near = {name: make for name, make in readings.items() if name in left}
        again = _scored(near, _sample(sides, MOST), compute, distance, workers)
    return again + [each._replace(far=True) for each in first if each.name not in left]


def conclude(findings: Sequence[Finding], own: str | None = None, seed: int = 0) -> Verdict:
    """A family's `own` reading, unless another is better beyond the interval over identities; else the best, which is
    clear where it beats all others so."""
    best, *others = findings
    close = [other.name for other in others if not _beats(best, other, seed)]
    if own is None or own not in [each.name for each in findings]:
        return Verdict(best.name, close, not close)
    chosen = own if own in (best.name, *close) else best.name
    return Verdict(chosen, [name for name in (best.name, *close) if name != chosen], True, own)


def table(findings: Sequence[Finding], verdict: Verdict) -> list[str]:
    """The findings as lines of text, the best first; mAP by the distance that is not used is under its name."""
    lines = [f"  {'reading':<26}    mAP   rank-1{''.join(f'   {name}' for name in findings[0].others)}"]
    for each in findings:
        usual = each.input.usual if each.name.startswith(OWN) else ""
        own = f"the model's own{usual and f', as {usual}'}" if each.name == verdict.own else usual and f"as {usual}"
        wrong = each.input.differing(findings[0].input)
        marks = [
            own,
            "chosen" if each.name == verdict.chosen and verdict.clear else "",
            "as good within the interval" if each.name in verdict.close else "",
            "far behind on fewer images" if each.far and each.name not in verdict.close else "",
            "features of different people hardly differ" if each.collapsed else "",
            f"likely cause: the {wrong}" if each.collapsed and wrong else "",
        ]
        others = "".join(f"   {value:>{len(name)}.3f}" for name, value in each.others.items())
        row = f"  {each.name:<26} {each.mAP:6.3f}   {each.rank1:6.3f}{others}   {'; '.join(filter(None, marks))}"
        lines.append(row.rstrip())
    return lines


def _scored(
    readings: Mapping[str, Callable[[], Victim]],
    sides: tuple[list[Sample], list[Sample]],
    compute: Compute,
    distance: str,
    workers: int,
) -> list[Finding]:
    """Each reading scored on the samples, decoded at its own size."""
    stores: dict[tuple[int, int], tuple[ImageStore, ImageStore]] = {}
    findings, problem = [], None
    pids, camids = zip(*map(ids_of, sides), strict=True)
    for name, make in progress(readings.items(), len(readings), "reading", names=[*readings]):
        try:
            victim = make().to(compute.device)
            size = victim.input.size
            if size not in stores:
                stores[size] = Images(*size, workers).stores(sides)
            both = progress(stores[size], 2, "", sizes=[*map(len, sides)])
            features = [extract(victim, store, compute.exact()).features for store in both]
            rankings = {name: rank(*features, *pids, *camids, distances=BY_NAME[name]) for name in DISTANCES}
        except ReidError as error:  # NaN features, or a size that it does not take
            logger.info("  %s is left out: %s", name, error)
            problem = error
            continue
        ranking = rankings.pop(distance)
        valid = pids[0].numpy()[ranking.valid_queries]
        by_identity = {pid: ranking.average_precision[valid == pid].mean() for pid in np.unique(valid).tolist()}
        scores = ranking.mAP, ranking.cmc["market1501"][0], by_identity, _alike(*features, *pids)
        findings.append(Finding(name, victim.input, *scores, {name: other.mAP for name, other in rankings.items()}))
    if problem and not findings:
        raise problem
    return sorted(findings, key=lambda finding: -finding.mAP)


def _alike(query: Tensor, gallery: Tensor, query_pids: Tensor, gallery_pids: Tensor) -> float:
    """The mean cosine between features of different people."""
    others = query_pids[:, None] != gallery_pids
    return float((F.normalize(query) @ F.normalize(gallery).T)[others].mean()) if others.any() else 0.0


def _beats(first: Finding, second: Finding, seed: int) -> bool:
    """Whether the second is far behind, or the mean over the identities that both have is higher beyond the paired
    bootstrap interval."""
    shared = sorted(first.by_identity.keys() & second.by_identity.keys())
    if len(shared) < FEWEST:
        return False
    gaps = np.array([first.by_identity[pid] - second.by_identity[pid] for pid in shared])
    return second.far or interval(gaps, np.array(shared), seed).low > 0


def _sample(sides: tuple[Sequence[Sample], Sequence[Sample]], most: int) -> tuple[list[Sample], list[Sample]]:
    """All, or those of whole identities that can be found again, FEWEST or more, drawn with seed 0."""
    if sum(map(len, sides)) <= most:
        return list(sides[0]), list(sides[1])
    images = Counter(sample.pid for side in sides for sample in side)
    chosen: set[int] = set()
    for pid in np.random.default_rng(0).permutation(sorted(found_again(*sides))).tolist():
        chosen.add(pid)
        if len(chosen) >= FEWEST and sum(images[each] for each in chosen) >= most:
            break
    query, gallery = ([sample for sample in side if sample.pid in chosen] for side in sides)
    return query, gallery
