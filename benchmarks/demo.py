"""Wall time of the whole demo in a fresh clone with its environment in place.

    python -m benchmarks.demo                       # of HEAD
    python -m benchmarks.demo --before COMMIT       # and of an earlier commit, with which it is compared

The lines carry what the defended and the undefended model scored, so that a faster demo shows that it is the same demo.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import measure
from reid.errors import ReidError
from reid.runtime import cli


def demo(commit: str, seed: int) -> dict[str, Any]:
    """Run the demo of a commit; seconds, peak memory of its largest process, and the mAP of its summary in %."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", measure.REPOSITORY, folder], check=True)
        subprocess.run(["git", "-C", folder, "checkout", "--quiet", commit], check=True)
        began = time.perf_counter()
        environment = os.environ | {"REID_PYTHON": sys.executable}
        process = subprocess.Popen(["bash", "runDemo.sh", str(seed)], cwd=folder, env=environment, stdout=sys.stderr)
        _, status, usage = os.wait4(process.pid, 0)  # of this demo and all it started, and of no other
        if status:
            code = os.waitstatus_to_exitcode(status)
            raise ReidError(f"runDemo.sh of {commit} failed with exit code {code}; see above")
        seconds = time.perf_counter() - began
        name = "demo" if seed == 0 else f"demo-seed{seed}"
        defended = json.loads((Path(folder) / "runs" / name / "summary.json").read_text())["defended"]
    scores = {key: round(100 * defended[key], 1) for key in ("clean", "frozen", "relearnt", "pgd")}
    undefended = {f"undefended {key}": round(100 * defended["undefended"][key], 1) for key in scores}
    return {"seconds": round(seconds, 1), "peak_MB": round(usage.ru_maxrss / 1024, 1), "mAP": undefended | scores}


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.demo")
    parser.add_argument("--before", metavar="COMMIT", help="an earlier commit to compare with")
    parser.add_argument("--seed", type=cli.natural_int, default=0, help="seed of the demo")
    args = parser.parse_args()
    runs = {"ours": demo("HEAD", args.seed)}
    baseline = "ours"
    if args.before:
        baseline = f"before ({args.before})"
        runs[baseline] = demo(args.before, args.seed)
    for kind, values in runs.items():
        line = {
            "job": f"Whole demo, seed {args.seed}",
            "kind": kind,
            "precision": "fp32",
            **values,
            "baseline": baseline,
            "baseline_seconds": runs[baseline]["seconds"],
            "timed": 1,
            **measure.conditions(os.cpu_count() or 1),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    cli.run(lambda _: main())
