"""Entries of a zoo that tests make up."""

import hashlib
import json

INPUT = {"height": 64, "width": 32, "resize": None, "channels": "rgb", "mean": [0.5] * 3, "std": [0.5] * 3}


def figure(mAP, **changes):
    known = {"dataset": "toy", "mAP": mAP, "interval": None, "contents": None, "protocol": {}, "source": "a paper"}
    return known | changes


def write_entry(folder, name="toy", content=None, **changes):
    """The JSON file of an entry in `folder`: of a resnet10 whose file NAME.pth has `content`, None: nobody knows it."""
    size, digest = (None, None) if content is None else (len(content), hashlib.sha256(content).hexdigest())
    known = {
        "name": name,
        "summary": "a toy",
        "source": {"repository": "someone/toys", "commit": "c" * 40, "how": "the file toy.pth"},
        "licence": "MIT",
        "files": [{"name": f"{name}.pth", "bytes": size, "sha256": digest}],
        "family": "resnet",
        "arch": "resnet10",
        "input": INPUT,
        "published": None,
        "measured": None,
        "fingerprint": None,
        "note": "",
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(known | changes))
