"""How much a page shows: all of a few small pictures, of many large ones as much as it can hold."""

import json

import numpy as np
import pytest
from made_up import judged

from reid.evaluation.exhibits import CONTENT, SHOWN, path_of, zipped
from reid.report.album import Album
from reid.report.chapter import Chapter
from reid.report.evidence import subjects
from reid.report.galleries import MOST_BYTES, galleries

ATTACKS = 5  # of a model of `judged` that have pictures: the strongest of each goal
FILES = 5  # of each query: itself, its answer, and three of a pair
DELTA = b"one perturbation for all models"


def attacked(folder, size, seed=0):
    """A judged model each of whose attacks has different pictures of `size` bytes, and one that all of them share."""
    random = np.random.default_rng(seed)
    for result in judged(folder):
        if result.attack["kind"] == "clean":
            path_of(folder, result).unlink()
            continue
        names = [f"{what}{i}" for i in range(SHOWN) for what in ("q", "a", "before", "after", "by")]
        answers = [[{"image": f"a{i}", "match": True}] for i in range(SHOWN)]
        content = {
            "queries": [{"image": f"q{i}", "clean": answers[i], "attacked": answers[i]} for i in range(SHOWN)],
            "pairs": [
                {
                    "side": side,
                    "file": f"{side}{i}",
                    "before": f"before{i}",
                    "after": f"after{i}",
                    "difference": f"by{i}",
                }
                for side in ("query", "gallery")
                for i in range(SHOWN)
            ],
            "perturbation": {"delta": "delta"},
        }
        files = {name: random.bytes(size) for name in names} | {"delta": DELTA}
        path_of(folder, result).write_bytes(zipped({CONTENT: json.dumps(content).encode(), **files}))


def shown(top, album):
    return galleries([Chapter(subject, "D", 0, album) for subject in subjects([top])], album)


@pytest.mark.parametrize(
    ("share", "count"), [(0.05, SHOWN), (0.24, SHOWN), (0.26, SHOWN - 1), (0.49, 2), (0.51, 1), (1.5, 1)]
)
def test_shows_as_many_queries_as_fit(tmp_path, share, count):
    """`share` is that of one query of every gallery in all that a page can hold."""
    attacked(tmp_path, round(share * MOST_BYTES / ATTACKS / FILES) - 10)
    album = Album()
    (found,) = shown(tmp_path, album)
    assert len(found) == ATTACKS
    for gallery in found:
        assert len(gallery.content["queries"]) == count
        assert [pair["side"] for pair in gallery.content["pairs"]] == count * ["query"] + count * ["gallery"]
        assert gallery.files.keys() == gallery.classes.keys()
        assert len(gallery.classes) == FILES * count + 1
    assert len({name for gallery in found for name in gallery.classes.values()}) == FILES * count * ATTACKS + 1
    assert album.size_with(set()) <= MOST_BYTES or share > 1


def test_models_share_the_room_and_show_equally_many(tmp_path):
    """The pictures of one model are twice as large as those of the other; together they leave room for half."""
    size = MOST_BYTES / ATTACKS / FILES / 2
    attacked(tmp_path / "a", round(size * 2 / 3) - 10)
    attacked(tmp_path / "b", round(size / 3) - 10, seed=1)
    found = shown(tmp_path, Album())
    assert [[len(gallery.content["queries"]) for gallery in of_model] for of_model in found] == 2 * [ATTACKS * [2]]
    assert len({gallery.classes["delta"] for of_model in found for gallery in of_model}) == 1


def test_fewer_are_evenly_spaced_too(tmp_path):
    attacked(tmp_path, round(0.4 * MOST_BYTES / ATTACKS / FILES))
    ((first, *_),) = shown(tmp_path, Album())
    assert [query["image"] for query in first.content["queries"]] == ["q0", "q2"]
    assert [pair["file"] for pair in first.content["pairs"]] == ["query0", "query2", "gallery0", "gallery2"]


@pytest.mark.parametrize(("taken", "count"), [(0, SHOWN), (MOST_BYTES, 1)])
def test_leaves_room_for_the_pictures_of_queries(tmp_path, taken, count):
    attacked(tmp_path, 10)
    album = Album()
    album.add(bytes(taken))
    assert {len(gallery.content["queries"]) for gallery in shown(tmp_path, album)[0]} == {count}
