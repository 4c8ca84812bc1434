"""The card of a defended model: one page on what it was, what was done with it, and what is known of it since."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

from reid.runtime.files import write_atomically
from reid.runtime.markdown import markdown

CARD_FILE = "card.md"
KNOWN = "## What is known of it"
HASH, CLEAN = "SHA-256, as results have it", "clean, validation identities"
DONE = {  # settings of a run that a card shows, and in which words
    "defense": "defence",
    "attacker": "adversaries",
    "max_eps": "largest budget per component",
    "source": "source set",
    "source_sha256": "its images, SHA-256",
    "mte": "virtual set",
    "virtual_sha256": "its images, SHA-256",
    "steps": "steps",
    "batch_size": "images drawn per step and set",
    "only_perturbed": "epochs at the end without clean images",
    "start_share": "share of the start in the weights",
    "lr": "learning rate",
    "batch_norm": "batch normalisation",
    "precision": "precision",
    "seed": "seed",
    "command": "command",
}
JUDGED_BY = ("source_sha256", "virtual_sha256", "seed")  # what validation identities depend on
NAMING = ("--resume", "--weights", "--preprocessing")
ABOUT = "A person re-identification model that was trained to withstand adversarial perturbations."
UNKNOWN = "null: not measured. Training does not say what an attacker who knows the model can do. This measures it:"
EVALUATE = "python evaluate.py --suite reid-fast-v1"


class Told(NamedTuple):
    """What a card tells: all that is before what is known of the models, the hashes of all of them, the first before
    all training and the last after it, and of these two the scores on validation identities and the commands."""

    head: str
    hashes: list[str]
    clean: list[str]
    commands: list[str]

    @classmethod
    def by(cls, text: str) -> Told | None:
        """None for a text that is no card of this version."""
        head, _, rest = text.partition(KNOWN)
        hashes = re.findall(rf"^\| {HASH} \| (\S+) \|$", head, re.MULTILINE)
        clean = re.findall(r"^\| (?:before|after) \| ([^|]+) \|", rest, re.MULTILINE)
        commands = re.findall(r"^    (.+)$", rest, re.MULTILINE)
        return cls(head, hashes, clean, commands) if len(hashes) > 1 and len(clean) == 2 else None

    @classmethod
    def of(cls, model: Path, sha256: str) -> Told | None:
        """What the card in the folder of a file tells, where it is of the model with this hash."""
        try:
            told = cls.by(model.with_name(CARD_FILE).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return told if told and told.hashes[-1] == sha256 else None

    def score(self, settings: Mapping[str, str]) -> str:
        """That before all training, where a run with these settings has the same validation identities, or "null"."""
        same = [f"| {DONE[key]} | {settings[key]} |" in self.head for key in JUDGED_BY if key in settings]
        return self.clean[0] if all(same) else "null"

    def spec(self) -> str | None:
        """How --resume names the model before all training, with the options that belong to it, if a command does."""
        try:
            words = shlex.split(self.commands[0]) if self.commands else []
        except ValueError:  # of a card that somebody edited
            return None
        named = dict(pair for pair in pairwise(words) if pair[0] in NAMING)
        first = named.pop("--resume", None)
        return first and shlex.join([first, *chain.from_iterable(named.items())])


@dataclass(frozen=True)
class Card:
    """`was` are rows of a name and what is to be said, `settings` those of the run. `hashes` are those of the model
    before and after, as results have them, `scores` the mAP on clean images of validation identities, "before" and
    "after", or None where it could not be measured."""

    was: Sequence[tuple[str, str]]
    settings: Mapping[str, str]
    hashes: tuple[str, str]
    scores: Mapping[str, float | None]
    judged_on: str  # a dataset with query and gallery
    specs: Sequence[str]  # for --resume, of the model before and after
    earlier: Told | None = None  # the card of a model that was defended before; this one goes on from it

    def write(self, model: Path) -> Path:
        """Write the card into the folder of the file of a defended model."""
        return write_atomically(model.with_name(CARD_FILE), lambda path: path.write_text(self._text(model), "utf-8"))

    def _text(self, model: Path) -> str:
        done = [(words, value) for key, words in DONE.items() if (value := self.settings.get(key, "None")) != "None"]
        scores = [[when, "null" if mAP is None else f"{100 * mAP:.1f}", "null"] for when, mAP in self.scores.items()]
        about = [f"# {model.name}", ABOUT, "## What it was", markdown([("", ""), *self.was, (HASH, self.hashes[0])])]
        title, specs = "## What was done", list(self.specs)
        if self.earlier:
            about, title = [self.earlier.head.strip()], "## What was done next"
            scores[0][1], specs[0] = self.earlier.score(self.settings), self.earlier.spec() or specs[0]
        judge = f"{EVALUATE} -d {self.judged_on} --resume"
        commands = [f"{judge} {spec} --results {when}" for spec, when in zip(specs, self.scores, strict=True)]
        commands.append(
            f"python -m reid.report.card {shlex.quote(model.parent.as_posix())} --before before --after after"
        )
        parts = [
            *about,
            title,
            markdown([("", ""), *done, (HASH, self.hashes[1])]),
            known([["mAP in %", CLEAN, "under the strongest attacks"], *scores], UNKNOWN, commands),
        ]
        return "\n\n".join(parts)


def known(scores: Sequence[Sequence[str]], words: str, commands: Sequence[str]) -> str:
    """The last part of a card: a table of scores, what it means, and the commands of both models."""
    listed = "\n".join(f"    {command}" for command in commands)
    return "\n\n".join([KNOWN, markdown(scores), words, listed]) + "\n"
