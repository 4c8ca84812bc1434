"""One model on one dataset: every row is scored, and becomes a Result in a file."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from reid.attacks.base import beyond
from reid.attacks.threat import Threat, format_budget
from reid.datasets import Dataset
from reid.datasets.contents import contents_sha256
from reid.errors import ReidError
from reid.evaluation import results
from reid.evaluation.detector import FIRST, Detector, enough
from reid.evaluation.exhibits import Exhibit, write_exhibit
from reid.evaluation.features import ids_of
from reid.evaluation.kinds import EXTERNAL
from reid.evaluation.ranklists import RankLists
from reid.evaluation.results import Result
from reid.evaluation.retrieval import Retrieval, Score
from reid.evaluation.rows import Row
from reid.evaluation.scores import Ranking
from reid.evaluation.search import has_converged, told
from reid.models.readings import OWN
from reid.models.victim import Passes
from reid.runtime import distributed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """What the results of all rows share. `settings` come from `Protocol.settings`, `side` is attacked where a row has
    none of its own; `lists` get each row too; `accept` raises ReidError for a result that is not to be written."""

    retrieval: Retrieval
    dataset: Dataset
    victim: dict[str, Any]
    settings: dict[str, Any]
    side: str
    seed: int
    command: str
    folder: Path
    lists: RankLists | None = None
    accept: Callable[[Result], None] = lambda result: None

    def run(self, rows: Iterable[Row], reuse: bool, external: bool = False) -> Iterator[Result]:
        """The Result of each row: scored and written into `folder`, or with `reuse` what is in the folder already; with
        `external` then what it holds of attacks of others on the same model and images, under the same protocol.

        With `lists` every row is scored, and has no result where there are only unknown queries. Under torchrun rank 0
        reads and writes. Raises ReidError when an attack leaves its budget.
        """
        began = time.perf_counter()  # a row may be learnt when it is asked for
        for row in rows:
            identity = self._identity(row)
            path = self.folder / results.file_name(identity)
            if self.lists and not len(self.retrieval.query):
                self.lists.add(identity, row.attack, row.side or self.side)
            elif reuse and not self.lists and distributed.from_main(partial(_is_whole, path)):
                yield self._reused(distributed.from_main(partial(results.read_result, path)))
            else:
                yield self._scored(row, identity, began)
            began = time.perf_counter()
        if external:
            yield from distributed.from_main(self._external)

    def _external(self) -> list[Result]:
        found = []
        for path in results.record_paths(self.folder):
            try:
                result = results.read_result(path)
            except ReidError as error:
                logger.warning("%s; it counts for nothing", error)
                continue
            whole = _is_whole(self.folder / result.file_name)
            if result.attack["kind"] == EXTERNAL and whole and self._is_of_this(result):
                found.append(result)
        return found

    def _is_of_this(self, result: Result) -> bool:
        ours = self._identity(Row(result.attack["name"], EXTERNAL, side=result.protocol.get("side")))
        same = result.protocol == ours["protocol"] and result.dataset == ours["dataset"]
        return same and result.victim["sha256"] == self.victim["sha256"] is not None

    def _reused(self, result: Result) -> Result:
        """A result of before; warns where the model, with the same weights, then behaved otherwise."""
        then, now = (victim.get("fingerprint") for victim in (result.victim, self.victim))
        if None not in (then, now) and then != now:
            words = "%s gave other features when %s was measured (fingerprint %s, now %s), perhaps by another release"
            values = (self.victim["path"], result.file_name, then, now)
            logger.warning(words + " of a library; leave --reuse out", *values)
        return result

    def _scored(self, row: Row, identity: dict[str, Any], began: float) -> Result:
        side = row.side or self.side
        retrieval = self.retrieval if row.queries is None else self.retrieval.among(row.queries)
        exhibit = Exhibit(retrieval, self.dataset, row.queries)
        score = retrieval.score(row.attack, side, exhibit.keep)
        ranking = score.ranking if row.queries is None else _of_all(score.ranking, row.queries)
        result = Result(
            **identity,
            metrics=results.metrics_of(score.ranking),
            spent=score.spent,
            passes=asdict(score.passes + _learning(row)),
            checks=_checks(row, score.spent, identity["threat"]),
            detector=self._detected(score) if row.queries is None else {},
            versions=results.versions(),
            command=self.command,
            seconds=time.perf_counter() - began,
        )
        self.accept(result)
        pictures = exhibit.content(score, row.attack, side)
        distributed.from_main(partial(self._write, result, ranking, pictures))
        if self.lists:
            self.lists.add(identity, row.attack, side, score.features, retrieval.query)
        return result

    def _write(self, result: Result, ranking: Ranking, pictures: bytes) -> None:
        write_exhibit(self.folder, result, pictures)
        results.write_result(self.folder, result, ranking, self._pids)

    @cached_property
    def _pids(self) -> np.ndarray:
        """Those of the queries (Q,)."""
        return ids_of(self.retrieval.query.samples)[0].numpy()

    def _detected(self, score: Score) -> dict[str, Any]:
        if not enough(self._pids):
            return {}
        return self._detector.judge(self._first(score.features))

    @cached_property
    def _detector(self) -> Detector:
        return Detector(self._pids, self._first(self.retrieval.clean), self.seed)

    def _first(self, features: tuple[Tensor, Tensor]) -> np.ndarray:
        return self.retrieval.rank_list(self.retrieval.query, *features, FIRST).places

    def _identity(self, row: Row) -> dict[str, Any]:
        side = {"side": row.side or self.side}
        asking = range(len(self.retrieval.query)) if row.queries is None else row.queries
        return {
            "victim": self.victim,
            "attack": {
                "name": row.name,
                "kind": row.kind,
                "noise_type": None if row.attack is None else row.attack.noise_type,
                "sha256": row.sha256,
                "learnt_on": row.provenance.get("victim_sha256"),
                "settings": row.settings | self._known(row),
                "needs": row.needs,
                "met": row.sha256 is not None and row.sha256 in self.retrieval.victim.met,
            },
            "dataset": {
                "name": self.dataset.name,
                "split": self.dataset.split,
                "num_query": len(asking),
                "num_gallery": len(self.retrieval.gallery),
                "contents": self._contents if row.queries is None else self._contents_of(asking),
            },
            "threat": {} if row.attack is None else row.attack.threat.to_dict() | side,
            "protocol": self.settings | side | self._reading | {"features": self.retrieval.victim.feature},
            "seed": self.seed,
        }

    @property
    def _reading(self) -> dict[str, Any]:
        """How the model was given its images, where that is not its own way."""
        reading = self.retrieval.victim.reading
        return {} if reading in ("", OWN) else {"reading": reading}

    def _known(self, row: Row) -> dict[str, str]:
        """The training images that an attack knows, by their contents."""
        knows = row.attack is not None and "training" in row.attack.knows
        return {"training": self._training} if knows else {}

    @cached_property
    def _training(self) -> str:
        training = self.retrieval.training
        return contents_sha256(training.samples if training else [])

    @cached_property
    def _contents(self) -> str:
        return self._contents_of(range(len(self.retrieval.query)))

    def _contents_of(self, queries: Iterable[int]) -> str:
        """Those of the gallery, and of the queries at these positions."""
        asking = self.retrieval.query.samples
        return contents_sha256([*(asking[place] for place in queries), *self.retrieval.gallery.samples])


def _is_whole(path: Path) -> bool:
    """Whether a result is there, with what was measured on each query."""
    return path.exists() and path.with_suffix(".npz").exists()


def _learning(row: Row) -> Passes:
    """The passes that it took to learn a perturbation for this very evaluation."""
    return Passes(**row.provenance.get("passes", {})) if "recipe" in row.settings else Passes()


def _of_all(ranking: Ranking, queries: Sequence[int]) -> Ranking:
    """A ranking for some queries, which names them by their positions among all."""
    return replace(ranking, valid_queries=np.array(queries)[ranking.valid_queries])


def _checks(row: Row, spent: dict[str, float], threat: dict[str, Any]) -> list[dict[str, Any]]:
    """What is known against the score: that the attack left its budget, or had not finished learning."""
    if row.attack is None:
        return []
    allowed = Threat(**threat)
    words = ", ".join(f"{name} {format_budget(value)}" for name, value in spent.items())
    detail = f"spent on the scored images: {words}; allowed: {allowed.label}"
    checks = [{"name": "budget", "passed": not beyond(spent, allowed), "detail": detail}]
    if scores := row.provenance.get("held_out"):
        lowest = row.provenance.get("lowest_of_restarts", min(scores))
        chosen_by = row.provenance.get("chosen_by", "mAP")
        detail = f"{chosen_by} of identities held out {told(scores)}; best restart {100 * lowest:.1f}"
        checks.append({"name": "converged", "passed": has_converged(scores, lowest), "detail": detail})
    return checks
