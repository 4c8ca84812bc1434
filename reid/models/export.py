"""Write a model as a file of another kind, and prove that the file gives the same features.

    python -m reid.models.export market.pth --to onnx --out market.onnx

The file gives features alone, of any number of images. It takes images that are prepared already: size, order and range
of the channels, mean and deviation are not in its network. They are in its metadata, and in FILE.json next to it; the
commands of this project read them there.
"""

from collections.abc import Sequence
from pathlib import Path

from reid.errors import UsageError
from reid.models.families import readable
from reid.models.readings import OWN, PREPROCESSINGS
from reid.runtime import cli


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.models.export")
    add = parser.add_argument
    add("spec", metavar="SPEC", help=f"the model: {cli.SPECS}")
    cli.add_weights_option(add)
    families = f"the family of a checkpoint, for a file of torch.save: {', '.join(readable())}"
    add("--to", required=True, metavar="KIND", help=f"onnx, torchscript, safetensors, or {families}")
    add("--out", required=True, type=Path, metavar="FILE", help="file to write; FILE.json is written too")
    add("--overwrite", action="store_true", help="replace --out and its .json if they are there already")
    reading = f"how the model reads images: own, as it says; {', '.join(PREPROCESSINGS)}; or a .json file of an input"
    add("--preprocessing", default=OWN, metavar="NAME[/VARIANT]", help=reading)
    for side in ("height", "width"):
        add(f"--{side}", type=cli.positive_int, help=f"image {side} (default: the model's own)")
    args = parser.parse_args(argv)
    there = [str(path) for path in (args.out, Path(f"{args.out}.json")) if path.exists()]
    if args.out.is_dir() or (there and not args.overwrite):
        raise UsageError(f"{there[0]} is there already; give another --out, or --overwrite to replace a file")
    from reid.models.formats import export

    how = {"preprocessing": args.preprocessing, "size": (args.height, args.width), "weights": args.weights}
    print(export(args.spec, args.to, args.out, **how))


if __name__ == "__main__":
    cli.run(main)
