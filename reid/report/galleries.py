"""What the strongest attacks on each model did to a few images, as many of them as a page can hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reid.evaluation.exhibits import SHOWN, Shown
from reid.report.album import Album
from reid.report.chapter import Chapter

MOST_BYTES = 3_750_000  # of all pictures of a page, a third less than what they take in it


@dataclass(frozen=True)
class Gallery:
    """One attack: its name and goal, the pairs, ranked lists and perturbation that are shown of its exhibit, and the
    classes of their pictures by the names of files."""

    name: str
    goal: str
    mAP: float
    content: dict[str, Any]
    classes: dict[str, str]


@dataclass(frozen=True)
class _Chosen:
    """The same before its pictures are on the page."""

    name: str
    goal: str
    mAP: float
    content: dict[str, Any]
    files: dict[str, bytes]

    def gallery(self, album: Album) -> Gallery:
        classes = {name: album.add(image) for name, image in self.files.items()}
        return Gallery(self.name, self.goal, self.mAP, self.content, classes)


def galleries(shown: Sequence[Chapter], album: Album) -> list[list[Gallery]]:
    """Those of each model: the strongest attack of each goal that has pictures, each once. All show the same number of
    queries: as many as leave the album below MOST_BYTES, and at least one."""
    strongest = [list(_strongest(each)) for each in shown]
    for count in range(SHOWN, 0, -1):
        chosen = [[_first(count, *each) for each in of_model] for of_model in strongest]
        pictures = {image for of_model in chosen for each in of_model for image in each.files.values()}
        if album.size_with(pictures) <= MOST_BYTES:
            break
    return [[each.gallery(album) for each in of_model] for of_model in chosen]


def _strongest(chapter: Chapter) -> Iterator[tuple[str, str, float, Shown]]:
    """Name, goal, mAP and exhibit of the attacks to show."""
    by_file = {each.result.file_name: each for each in chapter.measured}
    seen = set()
    for goal, found in chapter.found.items():
        each = by_file[found.result]
        if found.result not in seen and (exhibit := chapter.subject.exhibit(each)):
            seen.add(found.result)
            yield each.name, goal, each.mAP, exhibit


def _first(count: int, name: str, goal: str, mAP: float, exhibit: Shown) -> _Chosen:
    """`count` queries of an exhibit, pairs of `count` images of each side, and the files that show them."""
    content = exhibit.content
    queries = content["queries"][:count]
    sides = dict.fromkeys(pair["side"] for pair in content["pairs"])
    pairs = [pair for side in sides for pair in [each for each in content["pairs"] if each["side"] == side][:count]]
    perturbation = content["perturbation"]
    names = [pair[what] for pair in pairs for what in ("before", "after", "difference")]
    names += [name for query in queries for name in _of_query(query)] + list(perturbation.values())
    less = {**content, "queries": queries, "pairs": pairs}
    return _Chosen(name, goal, mAP, less, {each: exhibit.files[each] for each in dict.fromkeys(names)})


def _of_query(query: dict[str, Any]) -> Iterator[str]:
    yield query["image"]
    for which in ("clean", "attacked"):
        yield from (answer["image"] for answer in query[which])
