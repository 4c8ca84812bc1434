"""Write the images of a folder under a universal perturbation, as PNG files of 8 bits.

    python -m reid.attacks.apply images --attack attackModel/market1501-maml/0/best_perturbation4.pth --out perturbed

Folders in it are searched too, and kept; a.jpg becomes a.png. Images get the size at which the perturbation was learnt,
as in evaluate.py, so other code that reads the files sees what was evaluated. With --own-size they keep their own, and
the perturbation is resized. After rounding, too, no pixel has changed by more than the budget.
"""

import argparse
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from reid.errors import UsageError, few
from reid.runtime import cli

logger = logging.getLogger(__name__)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.attacks.apply")
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="folder of images, searched with all folders in it")
    add("--attack", required=True, metavar="FILE", help="perturbation file: ours, released, .npy, .png, .cube")
    add("--out", required=True, type=Path, metavar="DIR", help="where to write; it may exist, but not inside FOLDER")
    add("--eps", type=cli.budget, help="budget per component, such as 8/255 (default: as in the file, else 8/255)")
    add("--own-size", action="store_true", help="keep the size of each image")
    add("--overwrite", action="store_true", help="replace images that are there already")
    cli.add_size_options(add, "the perturbation's own")
    cli.add_device_option(add)
    args = parser.parse_args(argv)
    if args.own_size and (args.height or args.width):
        raise UsageError("--own-size keeps the size of each image; leave --height and --width out")
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out} is a file; give a folder, which is made if it is not there")
    return args


def refuse_targets(folder: Path, out: Path, names: Iterable[str], overwrite: bool) -> None:
    """Raise UsageError where a file would lie among the clean images, or is there already and not to be replaced."""
    names, clean = list(names), folder.resolve()
    if any(parent.resolve().is_relative_to(clean) for parent in {(out / name).parent for name in names}):
        raise UsageError(f"perturbed images would lie among the clean ones in {folder}; give an --out outside of it")
    if present := [name for name in names if not overwrite and (out / name).exists()]:
        problem = f"{out} has {len(present)} of the images already: {few(present)}"
        raise UsageError(f"{problem}; give another --out, or --overwrite to replace them")


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    from reid import attacks
    from reid.attacks.folders import grey_levels, png_names, size_of, write_perturbed
    from reid.datasets import loose
    from reid.runtime import device, distributed
    from reid.runtime.progress import stage

    compute = device.set_up(device.resolve(args.device, "fp32"))
    noise = attacks.load(args.attack, args.eps).to(compute.device)
    with stage():
        with stage(0.2):
            samples = loose.samples(args.folder, args.workers)
        names = png_names(samples).values()
        distributed.from_main(lambda: refuse_targets(args.folder, args.out, names, args.overwrite))
        size = None if args.own_size else cli.image_size(args.height, args.width, size_of(noise))
        largest = write_perturbed(noise, samples, args.out, size, compute.device, args.workers)
    words = "%d images are in %s; no pixel changed by more than %d grey levels, of %d that the budget allows"
    logger.info(words, len(samples), args.out, largest, grey_levels(noise.threat))


if __name__ == "__main__":
    cli.run(main)
