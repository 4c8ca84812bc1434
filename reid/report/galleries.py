"""What the strongest attacks on each model did to a few images, as many of them as a page can hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from reid.errors import ReidError
from reid.evaluation.exhibits import SHOWN, SIDES, Shown, evenly, path_of
from reid.report.album import Album
from reid.report.chapter import Chapter

MOST_BYTES = 3_750_000  # of all pictures of a page: 5 MB in it, as base64


@dataclass
class Gallery:
    """One attack: its name and goal, what is shown of its exhibit, the pictures for that by the names of their files,
    and their classes on the page."""

    name: str
    goal: str
    mAP: float
    content: dict[str, Any]
    files: dict[str, bytes]
    classes: dict[str, str] = field(default_factory=dict)


def galleries(shown: Sequence[Chapter], album: Album) -> list[list[Gallery]]:
    """Those of each model: the strongest attack of each goal that has pictures, each once. All show the same number of
    queries: as many as leave the album below MOST_BYTES, and at least one. Raises ReidError for a damaged exhibit."""
    whole = [list(_strongest(chapter)) for chapter in shown]
    for count in range(SHOWN, 0, -1):
        chosen = [[_cut(gallery, count) for gallery in of_model] for of_model in whole]
        pictures = {picture for gallery in chain(*chosen) for picture in gallery.files.values()}
        if album.size_with(pictures) <= MOST_BYTES:
            break
    for gallery in chain(*chosen):
        gallery.classes.update((name, album.add(picture)) for name, picture in gallery.files.items())
    return chosen


def _strongest(chapter: Chapter) -> Iterator[Gallery]:
    by_file, seen = {each.result.file_name: each for each in chapter.measured}, set()
    for goal, found in chapter.found.items():
        each = by_file[found.result]
        if found.result not in seen and (exhibit := chapter.subject.exhibit(each)):
            seen.add(found.result)
            _check(exhibit, path_of(chapter.subject.judgement.folder, each.result))
            yield Gallery(each.name, goal, each.mAP, exhibit.content, exhibit.files)


def _check(exhibit: Shown, path: object) -> None:
    try:
        missing = {*_names(exhibit.content)} - exhibit.files.keys()
    except (KeyError, TypeError, AttributeError) as error:
        raise ReidError(f"{path} is no exhibit of a result ({error!r}); remove it, or evaluate again") from error
    if missing:
        raise ReidError(f"{path} lacks {', '.join(sorted(map(str, missing)))}; remove it, or evaluate again")


def _cut(gallery: Gallery, count: int) -> Gallery:
    """`count` of its queries, and of the pairs of images of each side, evenly spaced."""
    content = gallery.content
    sides = [[pair for pair in content["pairs"] if pair["side"] == side] for side in SIDES]
    few = {
        "queries": _few(content["queries"], count),
        "pairs": [pair for pairs in sides for pair in _few(pairs, count)],
    }
    files = {name: gallery.files[name] for name in _names(content | few)}
    return Gallery(gallery.name, gallery.goal, gallery.mAP, content | few, files)


def _few(things: list[Any], count: int) -> list[Any]:
    return [things[place] for place in evenly(len(things), count)]


def _names(content: dict[str, Any]) -> Iterator[str]:
    """The files of all pictures that it shows."""
    for pair in content["pairs"]:
        yield from (pair["before"], pair["after"], pair["difference"])
    for query in content["queries"]:
        yield query["image"]
        yield from (answer["image"] for which in ("clean", "attacked") for answer in query[which])
    yield from content["perturbation"].values()
