"""Draw a synthetic dataset of people in the raw Market-1501 layout; the same seed gives the same bytes.

python -m reid.synthperson synth-a --root data
python -m reid.synthperson synth-b --for vendor.onnx       # images of the size that a model takes
python -m reid.synthperson synth-a --sheet sheet.png       # only a contact sheet, to look at
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from reid.errors import UsageError
from reid.runtime import cli
from reid.synthperson import DEFAULTS, contact_sheet, generate

logger = logging.getLogger(__name__)

SIZE = (128, 64)  # height and width of images where nobody says another


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.synthperson")
    parser.add_argument("name", choices=DEFAULTS, help="dataset to draw")
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of datasets; draws into ROOT/NAME/raw")
    parser.add_argument("--ids", type=cli.positive_int, help=f"training identities (default: {_default('ids')})")
    parser.add_argument("--test-ids", type=cli.positive_int, help=f"test identities (default: {_default('test_ids')})")
    parser.add_argument("--cams", type=cli.positive_int, help=f"cameras (default: {_default('cams')})")
    parser.add_argument("--per-cam", type=cli.positive_int, help=f"images per camera (default: {_default('per_cam')})")
    parser.add_argument("--height", type=cli.positive_int, help=f"image height (default: {SIZE[0]})")
    parser.add_argument("--width", type=cli.positive_int, help=f"image width (default: {SIZE[1]})")
    taken = f"draw images of the height and width that this model takes: {cli.SPECS}"
    parser.add_argument("--for", metavar="SPEC", dest="model", help=taken)
    cli.add_weights_option(parser.add_argument)
    parser.add_argument("--seed", type=cli.seed, default=0, help="seed of every image")
    parser.add_argument("--workers", type=cli.positive_int, help="processes that draw (default: one per core)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw only a contact sheet, into this file")
    args = parser.parse_args(argv)
    height, width = args.height or SIZE[0], args.width or SIZE[1]
    if args.model is not None:
        if args.height or args.width:
            raise UsageError("--for says the size of images; leave --height and --width out")
        from reid.models.sources import open_model

        height, width = open_model(args.model, args.weights).size()
    if args.sheet is not None:
        sizes = {key: getattr(args, key) for key in ("ids", "cams", "per_cam") if getattr(args, key) is not None}
        contact_sheet(args.name, args.sheet, height=height, width=width, seed=args.seed, **sizes)
        logger.info("the contact sheet is %s", args.sheet)
        return
    raw_dir = args.root / args.name / "raw"
    sizes = {key: getattr(args, key) for key in ("ids", "cams", "per_cam", "test_ids")}
    fresh = generate(args.name, raw_dir, height=height, width=width, seed=args.seed, workers=args.workers, **sizes)
    logger.info("%s %s", "drawn into" if fresh else "already there with these settings:", raw_dir)


def _default(size: str) -> str:
    return ", ".join(f"{getattr(sizes, size)} for {name}" for name, sizes in DEFAULTS.items())


if __name__ == "__main__":
    cli.run(main)
