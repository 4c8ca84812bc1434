"""Leaderboards of results: the strongest known attack on each model, as HTML, Markdown, LaTeX and CSV.

    python -m reid.leaderboard results -o leaderboard

Takes folders that evaluate.py and python -m reid.leaderboard.add wrote, with all folders in them, and needs nothing but
their JSON files. Results on other images, under another protocol or with another budget are in another table
(docs/leaderboard.md).
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reid.errors import UsageError
from reid.runtime import cli

logger = logging.getLogger(__name__)

FORMATS = ("html", "md", "tex", "csv")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.leaderboard")
    add = parser.add_argument
    add("results", nargs="+", type=Path, metavar="RESULTS", help="folder of results; folders in it are read too")
    add("-o", "--out", type=Path, default=Path("leaderboard"), metavar="DIR", help="where to write")
    add("--format", nargs="+", choices=FORMATS, default=FORMATS, help="what to write")
    args = parser.parse_args(argv)
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out} is a file; give a folder, which is made if it is not there")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    from reid.leaderboard.boards import boards_of
    from reid.leaderboard.entries import read
    from reid.leaderboard.formats import write

    boards, notes = boards_of(read(args.results))
    if not boards:
        folders = ", ".join(map(str, args.results))
        raise UsageError(f"no model in {folders} has a clean result and an attack on the same images; run evaluate.py")
    for path in write(boards, notes, args.out, args.format):
        print(path)
    for note in notes:
        logger.info("%s", note)


if __name__ == "__main__":
    cli.run(main)
