"""The suite on two models that others have judged: it finds what they found, and the numbers are in order.

The models, and the drawn people they saw, are not part of the repository: REID_JUDGED names their folder.
"""

import json
import os
import tarfile
from pathlib import Path

import pytest

import evaluate

JUDGED = Path(os.environ.get("REID_JUDGED", Path(__file__).parents[3] / "shared" / "judged"))
SIZE = ["--height", "80", "--width", "40", "--batch_size", "32", "--num-instances", "4"]
MOST = {"A": {"universal": 0.18, "image": 0.09, "image_gallery": 0.05}, "D": {"universal": 0.50, "image": 0.40}}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not JUDGED.is_dir(), reason=f"no {JUDGED}; set REID_JUDGED to the folder of the judged models"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with tarfile.open(JUDGED / "data.tar") as archive:
        archive.extractall(folder, filter="data")
    return str(next(folder.rglob("synth-a")).parent)


@pytest.fixture(scope="module")
def judge(data, tmp_path_factory):
    """`judge(model, suite, *options)`: the summary of a suite on a model."""

    def run(model, suite, *options):
        folder = tmp_path_factory.mktemp("results")
        shared = ["-d", "synth-a", "--resume", str(JUDGED / f"{model}.pth"), "--data", data, *SIZE]
        evaluate.main([*shared, "--suite", suite, "--results", str(folder), *options])
        summary = json.loads((folder / f"{suite}-summary.json").read_text())
        rows = [
            json.loads(path.read_text()) for path in folder.glob("*.json") if not path.name.endswith("-summary.json")
        ]
        controls = [
            row["metrics"]["mAP"] for row in rows if row["attack"]["settings"].get("control", "").startswith("random")
        ]
        return summary, min(controls)

    return run


@pytest.mark.parametrize("model", [*MOST])
def test_the_smoke_suite_finds_what_others_found(judge, model):
    summary, control = judge(model, "reid-smoke-v1")
    worst = summary["worst"]
    for goal, most in MOST[model].items():
        assert worst[goal] <= most, goal
    assert summary["clean"] >= control - 0.01
    assert control > worst["universal"] > worst["image"] >= worst["image_gallery"]
    assert summary["flags"] == []


def test_more_budget_leaves_less_and_none_changes_nothing(judge):
    summary, _ = judge("D", "reid-smoke-v1", "--eps", "0", "2/255", "8/255", "32/255")
    curve = summary["curve"]
    for goal in ("universal", "image", "image_gallery"):
        values = [curve[eps][goal] for eps in ("0/255", "2/255", "8/255", "32/255")]
        assert values[0] == summary["clean"]
        assert values == sorted(values, reverse=True)
    assert curve["32/255"]["image_gallery"] <= summary["chance"]
