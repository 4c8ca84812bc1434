"""From entries to tables: one for each list of images, protocol and budget; a line of it is a model."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from reid.evaluation.goals import ALSO, GOALS
from reid.leaderboard.entries import Entry, Found, Images, Subject


@dataclass(frozen=True)
class Row:
    """A model: its clean result, by goal the strongest known attack, the strongest of all, and why to doubt them."""

    clean: Entry
    attacks: dict[str, Entry]
    strongest: Entry
    reasons: tuple[str, ...]


class Key(NamedTuple):
    """What all results of a table have in common; `eps` is in grey levels."""

    images: Images
    protocol: str
    eps: float


@dataclass(frozen=True)
class Board:
    """A table: the most robust model comes first."""

    key: Key
    rows: tuple[Row, ...]

    @property
    def code(self) -> str:
        """Eight digits that tell it from others, the same for the same images, protocol and budget."""
        return hashlib.sha256(json.dumps(self.key).encode()).hexdigest()[:8]

    @property
    def title(self) -> str:
        return f"{self.key.images.dataset}, {self.budget} per component"

    @property
    def budget(self) -> str:
        return f"{self.key.eps:g}/255"

    @cached_property
    def goals(self) -> dict[str, str]:
        """Those that any model was attacked for, in words."""
        return {goal: words for goal, words in GOALS.items() if any(goal in row.attacks for row in self.rows)}

    @cached_property
    def protocol(self) -> dict[str, Any]:
        return json.loads(self.key.protocol)


def boards_of(found: Found) -> tuple[list[Board], list[str]]:
    """All tables, in order, and what is in none of them, in words. The order of the files changes nothing."""
    clean = defaultdict(list)
    for entry in sorted(found.clean):
        clean[entry.subject].append(entry)
    attacked: dict[Key, dict[Subject, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    lost = 0
    for entry in sorted(found.attacks):
        if whole := _whole(entry, clean[entry.subject]):
            attacked[Key(whole, entry.subject.protocol, entry.eps)][entry.subject].append(entry)
        else:
            lost += 1
    boards = [
        Board(key, _rows(key, subjects, clean, found)) for key, subjects in sorted(attacked.items(), key=lambda x: x[0])
    ]
    idle = {subject for subject, entries in clean.items() if entries}
    idle -= {subject for subjects in attacked.values() for subject in subjects}
    return boards, list(_notes(lost, len(idle), found.others))


def _whole(entry: Entry, clean: Sequence[Entry]) -> Images | None:
    """The images whose clean ranking an attack belongs to: its own, or where it was tried on a part of the queries, the
    only ones that this can be a part of."""
    known = {each.images for each in clean}
    if entry.images in known:
        return entry.images
    dataset, _, num_query, num_gallery = entry.images
    wholes = {x for x in known if (x.dataset, x.num_gallery) == (dataset, num_gallery) and x.num_query > num_query}
    return wholes.pop() if len(wholes) == 1 else None


def _rows(
    key: Key, subjects: dict[Subject, list[Entry]], clean: dict[Subject, list[Entry]], found: Found
) -> tuple[Row, ...]:
    rows = []
    for subject, attacks in subjects.items():
        first = next(each for each in clean[subject] if each.images == key.images)
        best = {goal: _strongest(attacks, goal) for goal in GOALS if any(each.goal == goal for each in attacks)}
        strongest = min(best.values(), key=_rank)
        shown = (first, *best.values())
        reasons = {reason for each in shown for reason in each.problems}
        reasons |= found.flags.get((subject, key.images.dataset), set())
        rows.append(Row(first, best, strongest, tuple(sorted(reasons))))
    return tuple(sorted(rows, key=_place))


def _strongest(attacks: Sequence[Entry], goal: str) -> Entry:
    """Of the attacks that serve a goal: the least mAP, of those on most queries."""
    return min((each for each in attacks if each.goal in (goal, *ALSO.get(goal, ()))), key=_rank)


def _rank(entry: Entry) -> tuple[int, Entry]:
    return -entry.images.num_query, entry


def _place(row: Row) -> tuple[float, float, Subject]:
    """The model that keeps the most comes first."""
    return -row.strongest.mAP, -row.clean.mAP, row.clean.subject


def _notes(lost: int, idle: int, others: int) -> Iterator[str]:
    if lost:
        yield (
            f"Left out are {lost} results of attacks: there is no clean result of the same model, images and protocol, "
            "or more than one whose queries they could be a part of."
        )
    if idle:
        yield f"Left out are {idle} models, or readings or protocols of one, that were not attacked."
    if others:
        yield f"Left out are {others} JSON files that are no results."
