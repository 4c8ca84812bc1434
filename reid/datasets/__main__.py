"""Convert a dataset once, compare it with the expected counts, and print its table.

    python -m reid.datasets market1501 --root data
    python -m reid.datasets folder:my_images

Differences from the expected counts are a warning on stderr; an error is one line and exit code 2.
"""

from collections.abc import Sequence

from reid.datasets import create, names
from reid.runtime import cli


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.datasets")
    parser.add_argument("name", help=f"dataset: {', '.join(names())}")
    cli.add_data_option(parser.add_argument, "--root", "--data")
    parser.add_argument("--split", type=cli.natural_int, default=0, help="which draw of validation identities")
    args = parser.parse_args(argv)
    print(create(args.name, args.root, args.split).summary())


if __name__ == "__main__":
    cli.run(main)
