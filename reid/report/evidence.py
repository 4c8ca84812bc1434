"""What folders of results say of models: for each of them, on each dataset, a judgement."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reid.attacks.threat import Threat
from reid.errors import ReidError
from reid.evaluation.exhibits import Shown, read_exhibit
from reid.evaluation.kinds import CLEAN, EXTERNAL, IMAGE, RELEARNT, SEARCH, TRANSFER, UNIVERSAL
from reid.evaluation.measured import Measured
from reid.evaluation.results import SUMMARY, Result, per_query, read_results
from reid.evaluation.verdict import HEALTHY, Judgement, Traits, main_budget

logger = logging.getLogger(__name__)

ATTACKS = (UNIVERSAL, RELEARNT, IMAGE, TRANSFER, SEARCH, EXTERNAL)


@dataclass(frozen=True, eq=False)
class Subject:
    """A model on a dataset under one protocol: what was measured on it, and which suite that was ("": none that
    judges). `others` are results of the same kind that are no part of the suite."""

    judgement: Judgement
    suite: str
    others: Sequence[Measured]

    @property
    def clean(self) -> Result:
        return self.judgement.clean.result

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The verdict, computed here; no intervals where nobody knows which queries are of one person."""
        summary = self.judgement.summary(self.suite)
        return summary if (self.judgement.pids >= 0).any() else summary | {"intervals": {}}

    def exhibit(self, each: Measured) -> Shown | None:
        """What was shown of a row."""
        return read_exhibit(self.judgement.folder, each.result)


def subjects(folders: Iterable[str | Path]) -> list[Subject]:
    """Those of the results in some folders and all below them. Raises ReidError where there is none, and for a file
    that is no result."""
    found: list[Subject] = []
    for folder in dict.fromkeys(place for given in folders for place in _with_results(Path(given))):
        found += _of_folder(folder)
    if not found:
        raise ReidError(f"no results of clean images in {', '.join(map(str, folders))}; run evaluate.py --results DIR")
    return found


def model_names(models: Sequence[Subject]) -> list[str]:
    """The last two parts of each path, or as many as tell different paths apart; of one model on several datasets, or
    by several seeds, that too."""
    clean = [each.clean for each in models]
    paths = [Path(each.victim["path"]).parts for each in clean]
    count = 2
    while len({path[-count:] for path in paths}) < len(set(paths)):
        count += 1
    names = [Path(*path[-count:]).as_posix() for path in paths]
    for more in ([f" on {each.dataset['name']}" for each in clean], [f", seed {each.seed}" for each in clean]):
        names = [name + (end if names.count(name) > 1 else "") for name, end in zip(names, more, strict=True)]
    return names


def _with_results(top: Path) -> Iterator[Path]:
    """The folders below, and `top` itself, that have results."""
    if not top.is_dir():
        raise ReidError(f"no such results folder: {top}; run evaluate.py to write results")
    yield from sorted({path.parent for path in top.rglob("*.json") if not path.name.endswith(SUMMARY)})


def _of_folder(folder: Path) -> Iterator[Subject]:
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in read_results(folder):
        groups.setdefault(_shared(result), []).append(result)
    for results in groups.values():
        clean = [result for result in results if result.attack["kind"] == CLEAN]
        if not clean:
            logger.warning("%s: %s has no result of clean images and is left out", folder, results[0].victim["path"])
        for each in clean:
            yield _subject(folder, each, [result for result in results if _of_same_images(result, each)])


def _of_same_images(result: Result, clean: Result) -> bool:
    """Whether it is of the same query and gallery, or of some of the queries, which have contents of their own."""
    first, second = result.dataset, clean.dataset
    return first["num_query"] < second["num_query"] or first.get("contents") == second.get("contents")


def _shared(result: Result) -> tuple[Any, ...]:
    """What the results of one subject have in common."""
    victim, dataset = result.victim, result.dataset
    protocol = {name: value for name, value in result.protocol.items() if name != "side"}
    about = (dataset["name"], dataset["split"], dataset["num_gallery"], json.dumps(protocol, sort_keys=True))
    return (victim["sha256"] or victim["path"], *about, result.seed)


def _subject(folder: Path, clean: Result, results: list[Result]) -> Subject:
    summary = _verdict_on(clean, folder)
    names = {name: place for place, name in enumerate(summary.get("results", ()))}
    threats = [(0, Threat.from_dict(result.threat)) for result in results if result.attack["kind"] in ATTACKS]
    eps = float(summary["eps"]) if summary else main_budget(threats or [(0, Threat(0.0, 0.0))])
    traits = Traits(**clean.victim["traits"]) if "traits" in clean.victim else HEALTHY
    pids = _pids(folder, clean)
    judgement, others = Judgement(pids, folder, eps, traits), Judgement(pids, folder, eps)
    for result in sorted(results, key=lambda each: (names.get(each.file_name, 0), each is not clean, each.file_name)):
        (judgement if not names or result.file_name in names else others).add(result)
    return Subject(judgement, str(summary.get("suite", "")), others.measured)


def _verdict_on(clean: Result, folder: Path) -> dict[str, Any]:
    """The summary in a folder by which the model was judged, the one of most results; empty where there is none."""
    best: dict[str, Any] = {}
    for path in sorted(folder.glob(f"*{SUMMARY}")):
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            names = summary.get("results", [])
            if clean.file_name in names and len(names) > len(best.get("results", ())):
                best = {key: summary[key] for key in ("suite", "eps", "results")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReidError(f"{path} is no summary of a suite ({error}); remove it, or evaluate again") from error
    return best


def _pids(folder: Path, clean: Result) -> np.ndarray:
    """Those of the queries, -1 where they are not known."""
    values = per_query(folder, clean)
    pids = np.full(clean.dataset["num_query"], -1)
    if "pids" in values:
        pids[values["valid_queries"]] = values["pids"]
    return pids
