"""Results that nobody measured: a folder as evaluate.py writes it, of any numbers."""

import io
import json

import numpy as np
from PIL import Image

from reid.evaluation.exhibits import CONTENT, write_exhibit, zipped
from reid.evaluation.ranking import Ranking
from reid.evaluation.results import Result, write_result

QUERIES, GALLERY, CHANCE = 24, 40, 0.05
PROTOCOL = {"distance": "euclidean", "height": 16, "width": 8, "same_camera": "dropped"}
SETTINGS = {"transfer": {"attack": "cosine", "surrogate": "B.pth", "steps": 10}, "control": {"control": "random sign"}}
NEEDS = {
    "image": ["gradients", "training"],
    "image_gallery": ["gradients", "reference"],
    "search": ["reference", "scores"],
}


def jpeg(grey, size=(8, 16)):
    file = io.BytesIO()
    Image.new("L", size, grey).save(file, "JPEG")
    return file.getvalue()


def exhibit(name, kind):
    """One query, or all people where nothing is attacked."""
    files = {f"{what}.jpg": jpeg(20 * i + len(name)) for i, what in enumerate(("q", "g", "before", "after"))}
    files["colours.jpg"] = jpeg(len(name), size=(40, 16))
    named = {"place": 0, "file": f"{name}-0.png", "pid": 1, "camid": 0}
    if kind == "clean":
        people = [named | {"place": place, "file": f"query-{place}.png", "image": "q.jpg"} for place in range(QUERIES)]
        content = {"people": people}
    else:
        answers = [{"image": "g.jpg", "match": match} for match in (True, False)]
        content = {
            "side": "query",
            "magnified": 8,
            "queries": [{**named, "image": "q.jpg", "clean": answers, "attacked": answers[::-1]}],
            "pairs": [{"side": "query", **named, "before": "before.jpg", "after": "after.jpg", "difference": "g.jpg"}],
            "perturbation": {"colours": "colours.jpg"} if kind == "relearnt" else {},
        }
    return zipped({CONTENT: json.dumps({"schema_version": 1, **content}).encode(), **files})


def row(folder, name, kind, mAP, *, model="D.pth", eps=8 / 255, asked=QUERIES, pictures=True, pids=True, **more):
    """Write a result whose queries have average precisions of this mean; `scattered` draws them far apart."""
    scattered = more.pop("scattered", False)
    precision = np.clip(mAP + np.linspace(-1, 1, asked) * (0.1 if scattered else 0.03), 0, 1)
    if scattered and kind != "clean":
        precision = precision[5 * np.arange(asked) % asked]
    first = 1 + (np.arange(asked) * (1 - mAP)).astype(int)
    cmc = {"1": float((first <= 1).mean()), "5": float((first <= 5).mean()), "10": float((first <= 10).mean())}
    level = "image_gallery" if more.pop("informed", False) else kind
    settings = (
        SETTINGS.get(kind, {}) | ({"attack": name, "steps": 10} if kind == "image" else {}) | more.pop("settings", {})
    )
    color = eps if kind == "relearnt" else 0.0
    result = Result(
        metrics={
            "mAP": float(precision.mean()),
            "mINP": 0.3,
            "cmc": {"market1501": cmc, "allshots": cmc},
            "num_valid": asked,
            "num_skipped": 0,
            "chance_mAP": CHANCE,
        },
        victim={"path": f"models/{model}", "arch": "resnet10", "sha256": f"{model}-{'0' * 50}", "fingerprint": "abc"},
        attack={
            "name": name,
            "kind": kind,
            "noise_type": 0 if kind == "relearnt" else None,
            "sha256": None,
            "learnt_on": None,
            "settings": settings,
            "needs": NEEDS.get(level, []),
            "met": False,
        },
        dataset={
            "name": more.pop("dataset", "toy"),
            "split": 0,
            "num_query": asked,
            "num_gallery": GALLERY,
            "contents": "all" if asked == QUERIES else "some",
        },
        threat={} if kind == "clean" else {"eps_color": color, "eps_delta": eps, "side": "query"},
        spent={} if kind == "clean" else {"color": color, "delta": eps, "total": eps, "total_8bit": eps},
        passes={} if kind == "clean" else {"forward": 24 * asked, "backward": 10 * asked},
        protocol=PROTOCOL | {"side": "query"},
        checks=[],
        seed=more.pop("seed", 0),
        versions={"python": "3.11"},
        command=f"evaluate.py --resume models/{model}",
        seconds=1.5,
        detector={"found": round(1 - mAP, 2), "false_alarms": 0.02} if asked == QUERIES else {},
    )
    people = np.arange(asked) // 3 if pids else None
    if pictures:
        write_exhibit(folder, result, exhibit(name, kind))
    score = Ranking(mAP, 0.3, {}, CHANCE, asked, 0, np.arange(asked), precision, first)
    write_result(folder, result, score, people)
    return result


def judged(folder, model="D.pth", **more):
    """A model that was attacked in all ways."""
    rows = [
        ("clean", "clean", 0.9, {}),
        ("learnt", "relearnt", 0.5, {}),
        ("push", "image", 0.3, {}),
        ("push longer", "image", 0.29, {"settings": {"attack": "push", "steps": 20}, "asked": 6}),
        ("rank", "image", 0.1, {"informed": True}),
        ("weaker", "image", 0.6, {"eps": 4 / 255}),
        ("square", "search", 0.4, {"asked": 6}),
        ("cosine, made on B.pth", "transfer", 0.7, {}),
        ("random sign", "control", 0.88, {}),
    ]
    return [row(folder, name, kind, mAP, model=model, **(extra | more)) for name, kind, mAP, extra in rows]


def summary(folder, results, suite="reid-toy-v1"):
    """What a suite leaves next to its results."""
    content = {"suite": suite, "eps": 8 / 255, "results": [result.file_name for result in results]}
    (folder / f"{suite}-summary.json").write_text(json.dumps(content))
