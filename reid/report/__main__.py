"""One page of evidence from folders of results: the verdict, what it looks like, every query, figure and row.

    python -m reid.report results -o report.html
    python -m reid.report runs/demo/results/A runs/demo/results/D -o report.html

Folders are those of evaluate.py --results, or ones above them; each model in them has its place on the page, which is
one HTML file that needs no network (docs/report.md).
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reid.errors import UsageError
from reid.runtime import cli

logger = logging.getLogger(__name__)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.report")
    add = parser.add_argument
    add("results", nargs="+", type=Path, metavar="RESULTS", help="folder of results, or one above several")
    add("-o", "--out", type=Path, default=Path("report.html"), metavar="HTML", help="the page to write")
    add("--title", default="Robustness of re-identification", help="what the page is called")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if args.out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {args.out} must end in .html")
    from reid.report.evidence import subjects
    from reid.report.page import write_page

    write_page(args.out, subjects(args.results), args.title)
    logger.info("the page is %s", args.out)


if __name__ == "__main__":
    cli.run(main)
