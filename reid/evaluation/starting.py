"""What a defence starts from: the sets, drawn where they are missing, and the model, ours or one of others, adopted."""

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reid import datasets
from reid.attacks import Attack
from reid.datasets import Dataset
from reid.errors import UsageError
from reid.evaluation import retrieval
from reid.evaluation.detective import choose_victim, tells_apart
from reid.evaluation.features import extract
from reid.evaluation.retrieval import found_again, validation_samples
from reid.loading import Images
from reid.models.adopted import Adopted, victim_of
from reid.models.inputs import InputSpec
from reid.models.network import Trainable
from reid.models.readings import OWN
from reid.models.returned import Returned, ReturnedOther
from reid.models.sources import Size, Source
from reid.models.victim import Victim
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.synthperson.missing import draw_missing
from reid.training.batches import TrainingSet
from reid.training.card import Card, Told
from reid.training.start import is_ours, starting_model

logger = logging.getLogger(__name__)


def expected_size(source: Source, reading: str | None, asked: Size) -> tuple[int, int]:
    """Height and width of the images that a model is going to get, before anything is known of how it reads them."""
    name, own, variant = source.parts(reading or OWN)
    if name.endswith(".json") and not own:
        own = InputSpec.read(name).size
    return source.size(own or asked, variant)


def open_sets(
    names: Sequence[str],
    roots: Mapping[str, str | Path],
    split: int,
    size: tuple[int, int],
    ids: int | None,
    labelled: bool,
    seed: int,
) -> list[Dataset]:
    """The datasets of these names; drawn ones that are not there are drawn by `seed`, with images of `size`."""
    distributed.from_main(lambda: draw_missing(names, roots, size, ids, seed))
    return [datasets.create(name, roots, split, labelled) for name in names]


def training_sets(data: Sequence[Dataset], images: Images, whole: bool, seed: int, **shape: Any) -> list[TrainingSet]:
    """Each set in batches of `shape`; the `whole` of trainval, or without the validation identities."""
    return [
        TrainingSet(each.name, each.trainval if whole else each.train, images, seed=set_seed, **shape)
        for set_seed, each in enumerate(data, 2 * seed)
    ]


def judge(data: Sequence[Dataset], labelled: bool) -> Dataset | None:
    """The set whose validation identities choose the epoch to keep: the source, or where that is not `labelled` the
    first with any that are found again. Says so in the log where it is another one, or none."""
    chosen = data[0] if labelled else next((each for each in data if found_again(each.val, each.val)), None)
    if chosen is not data[0]:
        last = "there is no validation mAP, so the last epoch is kept; -m synth-virtual would give one"
        other = chosen and f"the best epoch is chosen by mAP on the validation identities of {chosen.name}"
        logger.info("nobody to validate on in %s is known to be under two cameras: %s", data[0].name, other or last)
    return chosen


class Scores:
    """The scores of a model in training on the validation identities of a set, if there is one."""

    def __init__(
        self,
        model: Trainable,
        dataset: Dataset | None,
        images: Images,
        compute: Compute,
        attacks: Callable[[], Sequence[Attack]],
        scoring: Mapping[str, Any],
    ) -> None:
        self.model, self.validate, self._clean = model, None, None
        if dataset is not None:
            sides, compute = images.stores(validation_samples(dataset)), compute.exact()
            score = partial(retrieval.validation, model, sides, compute, **scoring)
            self.validate, self._clean = score(attacks=attacks), score()

    def clean(self) -> float | None:
        """The mAP on clean images, or None without a set."""
        return self._clean and self._clean()["val_mAP"]


@dataclass(frozen=True)
class Start:
    """A model to start from, and the sets to train on. `victim` is how a model of others was opened, None for ours,
    `returned` how it is written back."""

    source: Source
    data: Sequence[Dataset]
    compute: Compute
    victim: Victim | None
    returned: Returned

    @classmethod
    def of(
        cls,
        source: Source,
        reading: str | None,
        data: Sequence[Dataset],
        compute: Compute,
        size: Size,
        arch: str | None,
    ) -> "Start":
        """With its reading, tried on the first set with enough people where neither it nor its file says one.

        Raises UsageError for a reading of a model of ours, and for one of others that cannot be trained or written.
        """
        if is_ours(source):
            if reading not in (None, OWN):
                problem = "is a network of this project, which reads images in one way"
                raise UsageError(f"{source.spec} {problem}; leave --preprocessing out")
            return cls(source, data, compute, None, Returned())
        people = max(data, key=tells_apart)
        victim = choose_victim(source, reading, people, compute, size=size, arch=arch, distance=source.distance)
        return cls(source, data, compute, victim, ReturnedOther(source, victim))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the images that the model wants, where that is known."""
        return self.victim.input.size if self.victim else self.source.trained

    def model(
        self,
        identities: int | None,
        arch: str | None,
        seed: int,
        batch_norm: str,
        recompute: bool,
        distance: str,
    ) -> Trainable:
        """The model in training, for so many identities, whose features are compared by a `distance`; None is for a
        defence that asks for none. Raises UsageError where the activations of another model than ours are to be
        recomputed."""
        if self.victim is None:
            assert self.source.checkpoint is not None
            model: Trainable = starting_model(self.source.checkpoint, identities, arch, seed)
            model.batch_norm = "live" if batch_norm == "auto" else batch_norm
            model.recompute_activations = recompute
        elif recompute:
            raise UsageError(f"--checkpointing is for this project's networks, not {self.source.spec}; leave it out")
        else:
            model = Adopted(self.victim, identities or 1, "eval" if batch_norm == "auto" else batch_norm, distance)
            logger.info("%s: batch normalisation %s", self.source.spec, _norms(model))
        return model.to(self.compute.device)

    def make_ready(self, model: Trainable, on: TrainingSet | None, batch_size: int) -> None:
        """Write an adopted model back once, so that what cannot be is known before the training, and start its head
        from the features of a set, if that has identities."""
        distributed.from_main(lambda: self.returned.rehearse(model))
        if isinstance(model, Adopted) and on is not None:
            features = extract(victim_of(model), on.store, self.compute.exact(), batch_size).features
            model.start_head(features.to(self.compute.device), on.labels.to(self.compute.device))

    def read_back(self, model: Trainable, path: Path) -> None:
        """Give the model the weights in a file that training has kept."""
        distributed.from_main(lambda: self.returned.read(path, model))
        distributed.same_(model)

    def card(self, settings: Mapping[str, str], before: float | None, after: float | None, path: Path) -> Path:
        """Write the card of the defended model, next to it. It goes on from one next to the file of the start."""
        source = self.source
        reading = [("reads images as", f"{self.victim.input.words} ({self.victim.reading})")] if self.victim else []
        was = [("model", source.spec), ("kind", source.kind or "as its code makes it")]
        tested = settings["source"] if self.data[0].query else "DATASET"
        read_as = f" --preprocessing {shlex.quote(self.victim.reading)}" if self.victim else ""
        kept = f" --weights {shlex.quote(source.weights)}" if source.weights else ""
        specs = [shlex.quote(source.spec) + kept + read_as, shlex.quote(self.returned.spec(path))]

        def write() -> Path:
            hashes = source.sha256, self.returned.sha256(path)
            scores = {"before": before, "after": after}
            kind, place = source.opened
            file = place.rpartition(":")[2] if kind in ("timm", "function") else place
            earlier = Told.of(Path(file), source.sha256)
            return Card([*was, *reading], settings, hashes, scores, tested, specs, earlier).write(path)

        return distributed.from_main(write)


def _norms(model: Adopted) -> str:
    """What becomes of batch normalisation, in words."""
    if not model.norms:
        return "has none of its own: there is none, or it is folded into other weights"
    how = "keeps its statistics, its weights are trained" if model.batch_norm == "eval" else "is live"
    return f"{how} ({len(model.norms)} layers; --batch-norm {model.batch_norm})"
