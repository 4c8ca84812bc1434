"""python -m reid.datasets NAME: convert a dataset, compare it with the published counts, print its table."""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from reid.datasets import create, names
from reid.errors import ReidError


class _OneLineParser(argparse.ArgumentParser):
    """Not the one of reid.training, which would load torch for a command that does not need it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Raises ReidError for what the user can mend."""
    parser = _OneLineParser(
        prog="python -m reid.datasets",
        description="Convert a dataset once, compare it with the published counts, and print its table.",
        epilog="Differences from the published counts are a warning on stderr; an error is one line and exit code 2.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("name", help=f"dataset: {', '.join(names())}")
    parser.add_argument("--root", default="data", help='folder that holds the datasets; for "folder", the images')
    parser.add_argument("--split", type=int, default=0, help="number of the division into train and val, from 0")
    args = parser.parse_args(argv)
    print(create(args.name, args.root, args.split).summary())


if __name__ == "__main__":
    logging.basicConfig(format="warning: %(message)s")
    try:
        main()
    except ReidError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; nothing is left half-written, the same command starts again", file=sys.stderr)
        sys.exit(130)
