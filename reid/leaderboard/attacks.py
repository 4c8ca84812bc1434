"""The attack of a submission: its universal perturbation, or its images, which are all there and within the budget."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from reid.attacks.base import TOLERANCE, Attack
from reid.attacks.files import load
from reid.attacks.folders import grey_levels, png_names, size_of
from reid.attacks.given import GivenImages
from reid.attacks.threat import Threat, format_budget
from reid.attacks.universal.perturbations import Perturbation, create
from reid.datasets import Dataset, Sample
from reid.datasets.archive import is_archive
from reid.datasets.picture import read_rgb
from reid.datasets.source import Archives, Folder, Source
from reid.errors import DatasetError, UsageError, few
from reid.leaderboard.submissions import Submission
from reid.loading import ImageStore


@contextmanager
def attack_of(
    submission: Submission, sides: Mapping[str, ImageStore], dataset: Dataset, workers: int
) -> Iterator[Attack]:
    """The attack of a submission on the images of these sides, for as long as the context lasts. Raises ReidError for
    one that cannot be read, or that leaves its budget."""
    file = submission.file
    if file.is_dir() or is_archive(file.name):
        with given_images(file, submission.threat, sides, dataset, workers) as given:
            yield given
    else:
        yield read_perturbation(submission)


def read_perturbation(submission: Submission) -> Perturbation:
    """The universal perturbation of a submission. Raises UsageError where it leaves the budget, CheckpointError for a
    file that is none."""
    threat = submission.threat
    given = load(submission.file, 1.0)  # nothing is cut
    size = size_of(given) or (1, 1)
    noise = create(given.noise_type, threat.eps_color, threat.eps_delta, *size, threat.side)
    state = given.state_dict()
    for name, box in noise.boxes().items():
        if (excess := (state[name] - box.clip(state[name])).abs().max().item()) > TOLERANCE:
            spent = f"{name} goes beyond {format_budget(box.eps)} by {format_budget(excess)}"
            raise UsageError(f"{submission.name} leaves its budget: {spent}; state the budget that it has")
    with torch.no_grad():
        noise.load_state_dict(state)
    made_on = given.provenance.get("victim_sha256")
    noise.provenance = {"victim_sha256": made_on if isinstance(made_on, str) else submission.victim_sha256}
    return noise.project_()


@contextmanager
def given_images(
    file: Path, threat: Threat, sides: Mapping[str, ImageStore], dataset: Dataset, workers: int
) -> Iterator[GivenImages]:
    """The attack of a folder or an archive on the images of these sides, for as long as the context lasts.

    Raises UsageError when images are missing or too many, cannot be read, have another size than the image that the
    model is given or the original, or are beyond the budget there; and for an archive that is damaged or unsafe.
    """
    source = _source(file)
    samples = [sample for store in sides.values() for sample in store.samples]
    names = _matched(source, file, names_of(dataset, samples))
    with TemporaryDirectory() as scratch:
        paths = {name: Path(scratch, f"{place}.png") for place, name in enumerate(names)}
        for _ in source.fetch(paths):
            pass
        found = iter(zip(names, paths.values(), strict=True))
        stores = {}
        for side, clean in sides.items():
            own = [(*next(found), sample) for sample in clean.samples]
            _check(own, clean, grey_levels(threat), workers)
            given = [Sample(str(path), sample.pid, sample.camid) for _, path, sample in own]
            stores[side] = ImageStore(given, clean.height, clean.width, workers, "none")
        yield GivenImages(stores, threat)


def names_of(dataset: Dataset, samples: Sequence[Sample]) -> list[str]:
    """What the perturbed images of these samples are called: without folders, where that tells them apart."""
    names = [dataset.original_name(sample) for sample in samples]
    targets = png_names(names)
    whole = [targets[name] for name in names]
    short = [posixpath.basename(name) for name in whole]
    return short if len(set(short)) == len(short) else whole


def _source(file: Path) -> Source:
    try:
        return Folder(file, [""]) if file.is_dir() else Archives(file.parent, [file.name])
    except DatasetError as error:
        raise UsageError(f"{str(error).partition(';')[0]}; pack the images again, as zip") from error


def _matched(source: Source, file: Path, names: Sequence[str]) -> list[str]:
    """The files of a source that have these names, in their order."""
    top = "" if file.is_dir() else f"{file.name}/"
    folders = any("/" in name for name in names)
    found: dict[str, str] = {}
    extra = []
    known = set(names)
    for path in source.all_images():
        inside = path.removeprefix(top)
        name = inside if folders else posixpath.basename(inside)
        if name in known and name not in found and (top or (file / path).resolve().is_relative_to(file)):
            found[name] = path
        else:
            extra.append(inside)
    if missing := [name for name in names if name not in found]:
        raise UsageError(f"{file.name} lacks {len(missing)} of {len(names)} images: {few(missing)}; add them")
    if extra:
        raise UsageError(f"{file.name} has {len(extra)} images too many: {few(extra)}; remove them")
    return [found[name] for name in names]


def _check(given: Sequence[tuple[str, Path, Sample]], clean: ImageStore, levels: int, workers: int) -> None:
    """Raise UsageError for an image that may not stand for its sample."""

    def check(place: int) -> None:
        name, path, sample = given[place]
        try:
            image = read_rgb(str(path))
        except DatasetError as error:
            raise UsageError(f"{name} cannot be read as an image; save it as PNG of 8 bits") from error
        original = read_rgb(sample.path)
        if image.size == (clean.width, clean.height):
            pixels = clean.batch([place])[0].permute(1, 2, 0).numpy()
        elif image.size == original.size:
            pixels = np.asarray(original)
        else:
            sizes = [
                f"{height} x {width}" for width, height in (image.size, (clean.width, clean.height), original.size)
            ]
            raise UsageError(f"{name} is {sizes[0]}; give {sizes[1]}, as the model is given, or {sizes[2]} as it was")
        change = int(np.abs(np.asarray(image).astype(int) - pixels).max())
        if change > levels:
            raise UsageError(f"{name} leaves the budget: a pixel changed by {change} grey levels, of {levels} allowed")

    with ThreadPoolExecutor(max(1, workers)) as pool:
        list(pool.map(check, range(len(given))))
