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


def shown_by(folder, size):
    """A judged model each of whose attacks has pictures of `size` bytes, all different."""
    random = np.random.default_rng(0)
    for result in judged(folder):
        if result.attack["kind"] == "clean":
            path_of(folder, result).unlink()
            continue
        files = {f"{what}{i}": random.bytes(size) for i in range(SHOWN) for what in ("q", "before", "after", "by")}
        queries = [{"place": i, "file": "f", "image": f"q{i}", "clean": [], "attacked": []} for i in range(SHOWN)]
        pairs = [
            {"side": side, "file": f"{side}-{i}", "before": f"before{i}", "after": f"after{i}", "difference": f"by{i}"}
            for side in ("query", "gallery")
            for i in range(SHOWN)
        ]
        content = {"side": "both", "magnified": 8, "queries": queries, "pairs": pairs, "perturbation": {}}
        path_of(folder, result).write_bytes(zipped({CONTENT: json.dumps(content).encode(), **files}))
    album = Album()
    return galleries([Chapter(subject, "D", 0, album) for subject in subjects([folder])], album)[0], album


@pytest.mark.parametrize(
    ("share", "count"), [(0.05, SHOWN), (0.24, SHOWN), (0.26, SHOWN - 1), (0.49, 2), (0.51, 1), (3, 1)]
)
def test_shows_as_many_queries_as_fit(tmp_path, share, count):
    """`share` is that of one query of every gallery in all that a page can hold."""
    attacks = len(shown_by(tmp_path / "first", 1)[0])
    assert attacks > 3
    shown, album = shown_by(tmp_path, round(share * MOST_BYTES / attacks / 4))
    for gallery in shown:
        assert len(gallery.content["queries"]) == count
        assert [pair["file"] for pair in gallery.content["pairs"]] == [
            f"{side}-{i}" for side in ("query", "gallery") for i in range(count)
        ]
        assert len(gallery.classes) == 4 * count
    assert len({name for gallery in shown for name in gallery.classes.values()}) == 4 * count * attacks
    assert album.size_with(set()) <= MOST_BYTES or count == 1


def test_leaves_room_for_the_pictures_of_queries(tmp_path):
    judged(tmp_path)
    full, album = subjects([tmp_path]), Album()
    album.add(bytes(MOST_BYTES))
    (shown,) = galleries([Chapter(full[0], "D", 0, album)], album)
    assert len(shown) > 3
    assert all(len(gallery.content["queries"]) == 1 for gallery in shown)
