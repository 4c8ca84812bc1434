"""Run the benchmarks in turn, append their lines to benchmarks/results.jsonl, and write the report.

    python -m benchmarks.run --quick             # those of README: at most ten minutes on two cores
    python -m benchmarks.run                     # the longer ones too, with the whole demo
    python -m benchmarks.run loading ranking     # some subjects

Every command runs in a process of its own. One that fails adds no line, and the exit code is then 1.
"""

import json
import logging
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import report
from reid.errors import ReidError, UsageError
from reid.runtime import cli

logger = logging.getLogger("benchmarks")

FIRST_AND_SECOND = "--kinds 'ours, first order' 'ours, second order'"
# The options of each command of a subject.
QUICK: dict[str, Sequence[str]] = {
    "attack_step": ["--batch_size 16"],
    "defense_step": [FIRST_AND_SECOND],
    "extraction": [""],
    "ranking": ["--plain --queries 337", ""],
    "loading": ["--pipeline training", "--pipeline attack"],
}
LONGER: dict[str, Sequence[str]] = {
    "attack_step": ["--batch_size 64"],
    "defense_step": ["", "--arch resnet10 --height 80 --width 40 --batch_size 32"],
    "ranking": ["--busy", "--size msmt17 --repeats 3"],
    "demo": [""],
}
SUBJECTS = tuple(QUICK | LONGER)


def commands(subjects: Sequence[str], quick: bool = False) -> list[str]:
    """What to run for these subjects. Raises UsageError for an unknown one."""
    for subject in subjects:
        if subject not in SUBJECTS:
            raise UsageError(f"there is no benchmark {subject!r}; there are {', '.join(SUBJECTS)}")
    tables = [QUICK] if quick else [QUICK, LONGER]
    return [
        f"python -m benchmarks.{subject} {options}".strip()
        for subject in subjects
        for table in tables
        for options in table.get(subject, ())
    ]


def measure(command: str) -> list[dict[str, Any]]:
    """The lines that a command prints, marked with it. Raises ReidError when it fails or prints none."""
    words = shlex.split(command)[1:]
    done = subprocess.run([sys.executable, *words], cwd=report.HERE.parent, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(text) for text in done.stdout.splitlines() if text.startswith("{")]
    if done.returncode or not lines:
        raise ReidError(f"{command} failed with exit code {done.returncode} and {len(lines)} lines; see above")
    return [line | {"command": command} for line in lines]


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m benchmarks.run")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"any of {', '.join(SUBJECTS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="only the commands of README's table")
    args = parser.parse_args(argv)
    failed = False
    for command in commands(args.subjects or SUBJECTS, args.quick):
        logger.info("%s", command)
        try:
            lines = measure(command)
        except ReidError as error:
            failed = True
            logger.error("%s", error)
            continue
        print(report.table(lines), end="\n\n", flush=True)
        with report.RESULTS.open("a") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in lines)
    report.write()
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
