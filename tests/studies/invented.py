"""Results, and records of the defence study, that nobody measured."""

import dataclasses
import json
from hashlib import sha256

import numpy as np

from reid.evaluation.results import Result
from studies.defense_results import CLEAN, COLUMNS, GOALS

SETTINGS = {
    "control": {"control": "random both"},
    "image": {"attack": "pgd", "steps": 15},
    "relearnt": {"recipe": "none"},
}
PIDS = np.repeat(np.arange(10), 3)


def hashed(words):
    return sha256(words.encode()).hexdigest()


def result(mAP, kind="clean", name="", noise_type=None, file=None, learnt_on=None, model="model", seed=0):
    """A result record; `file`, `learnt_on` and `model` stand for the contents of files."""
    color, delta = (8 / 255 if noise_type in types else 0.0 for types in ((0, 1), (0, 2, None)))
    return Result(
        metrics={"mAP": mAP, "mINP": 0.1, "chance_mAP": 0.03, "num_valid": 9, "num_skipped": 0, "cmc": {}},
        victim={"path": "model_best.pth", "arch": "resnet10", "sha256": hashed(model)},
        attack={
            "name": name or kind,
            "kind": kind,
            "noise_type": noise_type,
            "sha256": file and hashed(file),
            "learnt_on": learnt_on and hashed(learnt_on),
            "settings": SETTINGS.get(kind, {}),
        },
        dataset={"name": "synth-a", "split": 0, "num_query": 9, "num_gallery": 99, "contents": "c"},
        threat={} if kind == "clean" else {"eps_color": color, "eps_delta": delta, "side": "query"},
        spent={},
        passes={},
        protocol={"height": 80},
        checks=[],
        seed=seed,
        versions={},
        command="",
        seconds=1.0,
    )


def relearnt(mAP, restart, model, converged=True, seed=0):
    record = result(mAP, "relearnt", "", 0, f"{model} {restart}", model, model, seed)
    return dataclasses.replace(record, checks=[{"name": "converged", "passed": converged, "detail": ""}])


def write_record(folder, subject, row, name, mAP, noise=0.0, flags=(), **changes):
    """A record of a row: `mAP` is one number, that of clean images, with less by 0.1 in each further column, or one for
    each; queries differ by `noise` at random. The strongest attack leaves 0.01 more than all."""
    values = mAP if isinstance(mAP, tuple) else tuple(mAP - 0.1 * place for place in range(len(COLUMNS)))
    known = dict(zip(COLUMNS, values, strict=True))
    random = np.random.default_rng(sum(map(ord, f"{subject}{row}")))
    content = {
        CLEAN: known[CLEAN],
        "worst": {goal: known[goal] for goal in GOALS},
        "strongest": {goal: {"attack": "any", "mAP": known[goal] + 0.01} for goal in GOALS},
        "intervals": {column: [value - 0.02, value + 0.03] for column, value in known.items()},
        "flags": [{"name": flag, "detail": ""} for flag in flags],
        "suite": "reid-fast-v1",
        "protocol": {"height": 80},
        "eps": 8 / 255,
        "start": f"A of {subject}",
        "trained": "" if row == "undefended" else f"--defense {row}",
        "contents": f"images of {subject}",
        "seconds": 360.0,
        "pids": PIDS.tolist(),
        "precision": {column: (value + noise * random.normal(size=30)).tolist() for column, value in known.items()},
    }
    path = folder / subject / row / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path
