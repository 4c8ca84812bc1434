"""Write a universal perturbation as a file of another kind, for other tools, or from theirs.

    python -m reid.attacks.convert best_perturbation4.pth --to cube --out colour.cube
    python -m reid.attacks.convert uap.png --eps 10/255 --to attacker --out uap.pth

What the new file cannot hold, and how near it is, is in the last line. All kinds can be read too, by every --attack.
"""

from collections.abc import Sequence
from pathlib import Path

from reid.attacks.formats import FORMATS, POINTS, UNITS
from reid.errors import UsageError
from reid.runtime import cli


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.attacks.convert")
    add = parser.add_argument
    add("file", metavar="FILE", help="perturbation file: ours, released, an array, a PNG picture or a .cube file")
    kinds = "; ".join(f"{name}: {FORMATS.summary(name)}" for name in FORMATS)
    add("--to", required=True, choices=list(FORMATS), help=kinds)
    add("--out", required=True, type=Path, metavar="FILE", help="file to write")
    add("--overwrite", action="store_true", help="replace --out if it is there already")
    budget = "budget per component, such as 8/255 (default: as in the file, else 8/255; PNG files say none)"
    add("--eps", type=cli.budget, help=budget)
    units = "; ".join(f"{name}: {words}" for name, words in UNITS.items())
    unit = f"what the values of an array are. {units} (default: image or grey, where that is certain)"
    add("--unit", choices=list(UNITS), help=unit)
    points = "points along a side of a .cube file (default: 25, those of the table itself)"
    add("--points", type=int, choices=POINTS, help=points)
    for side in ("height", "width"):
        add(f"--{side}", type=cli.positive_int, help=f"{side} that the additive image gets (default: its own)")
    args = parser.parse_args(argv)
    if args.out.is_dir() or (args.out.exists() and not args.overwrite):
        raise UsageError(f"{args.out} is there already; give another --out, or --overwrite to replace a file")
    from reid.attacks.conversion import convert

    size = args.height, args.width
    print(convert(args.file, args.to, args.out, eps=args.eps, unit=args.unit, points=args.points, size=size))


if __name__ == "__main__":
    cli.run(main)
