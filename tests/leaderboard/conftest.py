"""Results as evaluate.py writes them, and what the command makes of folders of them."""

from dataclasses import replace

import pytest

from reid.evaluation.results import Result, write_result
from reid.leaderboard import __main__ as command
from reid.runtime import cli

EPS = 8 / 255


def record(mAP, kind="clean", name=None, *, model="a", eps=EPS, side="query", needs=(), num_query=9, **changes):
    """A result of this mAP; `changes` are those of other parts, by part."""
    attack = {"name": name or kind, "kind": kind, "noise_type": None, "sha256": None, "learnt_on": None}
    threat = {} if kind == "clean" else {"eps_color": 0.0, "eps_delta": eps, "side": side}
    return Result(
        metrics={"mAP": mAP, "mINP": 0.1, "chance_mAP": 0.03, "num_valid": 9, "num_skipped": 0, "cmc": {}}
        | changes.get("metrics", {}),
        victim={"path": f"/home/me/{model}/best.pth", "arch": "resnet10", "sha256": model * 64, "reading": "own"}
        | changes.get("victim", {}),
        attack=attack | {"needs": list(needs), "settings": {}, "met": False} | changes.get("attack", {}),
        dataset={
            "name": "toy",
            "split": 0,
            "num_query": num_query,
            "num_gallery": 30,
            "contents": f"{num_query:02}" * 32,
        }
        | changes.get("dataset", {}),
        threat=threat | changes.get("threat", {}),
        spent={},
        passes={},
        protocol={"distance": "euclidean", "side": side} | changes.get("protocol", {}),
        checks=changes.get("checks", []),
        seed=0,
        versions={},
        command="evaluate.py",
        seconds=1.0,
    )


def external(mAP, **changes):
    """A result of an attack of others."""
    said = {"authors": "A. Reader", "link": "https://example.org", "claimed_mAP": 0.1}
    return replace(
        record(mAP, "external", **changes), attack=record(mAP, "external", **changes).attack | {"settings": said}
    )


@pytest.fixture
def build(tmp_path, capsys):
    """`build(*results)`: the files, by name, that the command makes of a folder of these results."""

    def run(*results, folders=None, out="out", options=()):
        source = tmp_path / ("results" if out == "out" or not results else f"results of {out}")
        for result in results:
            write_result(source, result)
        command.main([*map(str, folders or [source]), "-o", str(tmp_path / out), *options])
        printed = capsys.readouterr().out.splitlines()
        files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / out).iterdir()}
        assert {line.rpartition("/")[2] for line in printed} <= files.keys()
        return files

    return run


@pytest.fixture
def refused(capsys):
    """`refused(main, options)`: the one line with which a command refuses, and leaves with 2."""

    def run(main, options):
        with pytest.raises(SystemExit) as left:
            cli.run(main, [*map(str, options)])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert left.value.code == 2
        assert len(lines) == 1
        return lines[0]

    return run
