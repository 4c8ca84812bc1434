"""The picture of mAP against the budget: each model under a perturbation learnt on it, and under PGD on each image.

    python -m studies.curve -d market1501 --out curve.png \\
        --model undefended=market.pth=attack/best_perturbation4.pth \\
                defended=defenseModel/market/model_best.pth=relearnt/best_perturbation4.pth

Writes the plotted numbers next to the picture, as JSON. To add a model to a picture, draw all again with --reuse.
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reid import datasets
from reid.errors import UsageError
from reid.runtime import cli

logger = logging.getLogger(__name__)


class Contender(NamedTuple):
    """A model to draw: its checkpoint, and the universal perturbation that was learnt on it (or the results folder)."""

    name: str
    checkpoint: Path
    perturbation: Path

    def perturbation_file(self) -> Path:
        """Raises ReidError when a folder holds no perturbation that was learnt on this model."""
        from reid.evaluation.relearning import worst_relearnt
        from reid.runtime.files import sha256

        if not self.perturbation.is_dir():
            return self.perturbation
        return worst_relearnt(self.perturbation, sha256(self.checkpoint))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m studies.curve")
    parser.add_argument("-d", "--dataset", required=True, help="dataset to rank: " + ", ".join(datasets.names()))
    parser.add_argument(
        "--model",
        nargs="+",
        required=True,
        type=contender,
        metavar="NAME=CHECKPOINT=PERTURBATION",
        help="models, each with the perturbation file learnt on that very model, or the results folder of evaluate.py "
        "--adaptive, which stands for the worst of the re-learnt perturbations",
    )
    parser.add_argument(
        "--eps",
        nargs="+",
        type=cli.grey_level_budget,
        default=[level / 255 for level in (0, 2, 4, 6, 8)],
        metavar="E",
        help="budgets per component, such as 4/255 or 4",
    )
    parser.add_argument("--steps", type=cli.positive_int, default=15, help="steps of PGD on each image")
    parser.add_argument("--out", type=Path, default=Path("curve.png"), metavar="PNG", help="the picture to write")
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="take the curves of models that are in the numbers next to --out, for the same images and settings, "
        "instead of measuring them again; numbers of other models stay there",
    )
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images per forward pass")
    cli.add_data_options(parser)
    cli.add_compute_options(parser, precision="fp32")
    return parser.parse_args(argv)


def contender(text: str) -> Contender:
    """An argparse type: NAME=CHECKPOINT=PERTURBATION."""
    parts = text.split("=")
    if len(parts) != 3 or not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=CHECKPOINT=PERTURBATION")
    return Contender(parts[0], Path(parts[1]), Path(parts[2]))


def common_size(sizes: set[tuple[int, int]]) -> tuple[int, int]:
    """Height and width of the images of all models. Raises UsageError where they differ."""
    if len(sizes) > 1:
        shown = ", ".join(f"{height} x {width}" for height, width in sorted(sizes))
        raise UsageError(f"the models take images of several sizes, {shown}; give --height and --width")
    return sizes.pop()


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    from reid import models
    from reid.datasets.contents import contents_sha256
    from reid.evaluation.retrieval import Retrieval, test_samples
    from reid.loading import Images
    from reid.runtime import device
    from reid.runtime.files import sha256, write_atomically
    from studies.curves import check_budgets, curves, draw, earlier_curves

    if args.out.suffix.lower() != ".png":
        raise UsageError(f"--out {args.out} must end in .png")
    if len({each.name for each in args.model}) < len(args.model):
        raise UsageError("two of --model have the same name; give each another")
    compute = device.set_up(device.resolve(args.device, args.precision))
    levels = sorted({round(255 * eps, 4) for eps in args.eps})
    perturbations = [each.perturbation_file() for each in args.model]
    check_budgets(perturbations, levels)
    samples = test_samples(dataset := datasets.create(args.dataset, args.data, split=args.split))
    victims = [models.load_victim(each.checkpoint, size=(args.height, args.width)) for each in args.model]
    sizes = {cli.image_size(args.height, args.width, victim.input.size) for victim in victims}
    images = Images(*common_size(sizes), args.workers, args.cache)
    settings = {
        "eps": levels,
        "steps": args.steps,
        "dataset": dataset.name,
        "split": args.split,
        "images": contents_sha256([*samples[0], *samples[1]], args.workers),
        "height": images.height,
        "width": images.width,
        "precision": compute.precision,
    }
    numbers = args.out.with_suffix(".json")
    known = earlier_curves(numbers, settings) if args.reuse else {}
    data: dict[str, Any] = settings | {"models": {}}
    for each, victim, file in zip(args.model, victims, perturbations, strict=True):
        hashes = {"checkpoint_sha256": sha256(each.checkpoint), "perturbation_sha256": sha256(file)}
        drawn = next((model for model in known.values() if hashes.items() <= model.items()), None)
        if drawn is None:
            stores = images.stores(samples)
            retrieval = Retrieval(victim.to(compute.device), stores, compute, args.batch_size)
            drawn = curves(retrieval, file, levels, args.steps)
        data["models"][each.name] = drawn | hashes
    kept = data | {"models": data["models"] | {n: m for n, m in known.items() if n not in data["models"]}}
    write_atomically(numbers, lambda temporary: temporary.write_text(json.dumps(kept, indent=2) + "\n"))
    draw(data, args.out, f"mAP against the budget, {dataset.name}, attacked: query")
    logger.info("the picture is %s, its numbers are in %s", args.out, numbers)


if __name__ == "__main__":
    cli.run(main)
