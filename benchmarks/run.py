"""Run the benchmarks in turn, keep their lines in benchmarks/results.jsonl, and write the report.

    python -m benchmarks.run                     # everything; hours on two cores
    python -m benchmarks.run --quick             # the first command of each subject
    python -m benchmarks.run colour ranking      # some subjects

Every command runs in a process of its own. Its lines replace the earlier ones of the same command; those of a command
that fails stay as they were, and the exit code is then 1.
"""

import json
import logging
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import report
from reid.errors import ReidError, UsageError
from reid.runtime import cli
from reid.runtime.files import write_atomically

logger = logging.getLogger("benchmarks")

# The options of each command of a subject, in the order of the report; the first one is the quick one.
SUBJECTS: Mapping[str, Sequence[str]] = {
    "attack_step": ["--batch_size 16", "--batch_size 64"],
    "defense_step": ["", "--arch resnet10 --height 80 --width 40 --batch_size 32"],
    "memory_plan": [""],
    "colour": ["--backward table", "--backward none", "--backward both", "--backward table --threads 1"],
    "ranking": [
        "--size market --queries 337 --repeats 3",  # a tenth, since the literal kind takes minutes for each thousand
        "--size market --kinds 'matrix product alone' 'fast-reid, Cython' ours --repeats 11",
        "--size market --kinds 'matrix product alone' ours --repeats 5 --busy",
        "--size msmt17 --queries 11659 --repeats 3 --kinds 'matrix product alone' ours",
    ],
    "rerank": ["--queries 337 --gallery 1591", "--kinds 'matrix product alone' ours"],
    "extraction": [""],
    "loading": ["--pipeline training", "--pipeline attack"],
    "scaling": ["ranking", "attack", "extraction", "ranks"],
    "demo": [""],
}


def commands(subjects: Sequence[str], quick: bool = False) -> list[str]:
    """What to run for these subjects. Raises UsageError for an unknown one."""
    for subject in subjects:
        if subject not in SUBJECTS:
            raise UsageError(f"there is no benchmark {subject!r}; there are {', '.join(SUBJECTS)}")
    shortest = 1 if quick else None
    return [f"python -m benchmarks.{s} {options}".strip() for s in subjects for options in SUBJECTS[s][:shortest]]


def measure(command: str) -> list[dict[str, Any]]:
    """The lines that a command prints, marked with it. Raises ReidError when it fails or prints none."""
    words = shlex.split(command)[1:]
    done = subprocess.run([sys.executable, *words], cwd=report.HERE.parent, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(text) for text in done.stdout.splitlines() if text.startswith("{")]
    if done.returncode or not lines:
        raise ReidError(f"{command} failed with exit code {done.returncode} and {len(lines)} lines; see above")
    subject = words[1].removeprefix("benchmarks.")
    return [line | {"benchmark": subject, "command": command} for line in lines]


def merged(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The old lines but those of a command that has new ones, and the new: in the order of SUBJECTS, others last."""
    order = {command: place for place, command in enumerate(commands(list(SUBJECTS)))}
    again = {line["command"] for line in new}
    lines = [line for line in old if line["command"] not in again] + list(new)
    return sorted(lines, key=lambda line: order.get(line["command"], len(order)))


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.run")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"any of {', '.join(SUBJECTS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="only the first command of each subject")
    args = parser.parse_args(argv)
    failed = False
    for command in commands(args.subjects or list(SUBJECTS), args.quick):
        logger.info("%s", command)
        try:
            new = measure(command)
        except ReidError as error:
            failed = True
            logger.error("%s", error)
            continue
        print(report.table(new), end="\n\n", flush=True)
        lines = merged(report.read(), new)
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        write_atomically(report.RESULTS, lambda file, text=text: file.write_text(text))
    report.write()
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
