"""Write the features of all images of a folder, with their file names.

    python -m reid.models.extract images --resume pretrained_models/market.pth --out features.npz

Folders in it are searched too; names need not tell who is on an image. --attack gives the features of the images under
a perturbation. docs/features.md says what is in the file and how to read it.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from reid import models
from reid.errors import UsageError
from reid.evaluation.feature_files import check_format
from reid.models.readings import OWN, PREPROCESSINGS
from reid.runtime import cli

logger = logging.getLogger(__name__)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.models.extract")
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="folder of images, searched with all folders in it")
    cli.add_model_options(parser, models.names(), PREPROCESSINGS)
    add("--out", required=True, type=Path, metavar="FILE", help="file to write: .npz, or .h5 (needs h5py)")
    add("--overwrite", action="store_true", help="replace --out if it is there already")
    add("--attack", metavar="FILE", help="perturbation file; the images are perturbed by it first")
    add("--eps", type=cli.budget, help="budget per component of --attack (default: as in its file, else 8/255)")
    add("--batch_size", type=cli.positive_int, default=64, help="images per forward pass")
    cli.add_size_options(add)
    cli.add_compute_options(parser, precision="fp32")
    args = parser.parse_args(argv)
    check_format(args.out)
    if args.eps is not None and not args.attack:
        raise UsageError("--eps is the budget of a perturbation; give one as --attack, or leave --eps out")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if args.out.is_dir() or (not args.overwrite and args.out.exists()):
        raise UsageError(f"{args.out} is there already; give another --out, or --overwrite to replace a file")
    from reid import attacks
    from reid.datasets import loose
    from reid.evaluation.distances import as_features
    from reid.evaluation.feature_files import write_features
    from reid.evaluation.features import extract
    from reid.loading import ImageStore
    from reid.runtime import device, distributed
    from reid.runtime.files import sha256
    from reid.runtime.progress import stage

    compute = device.set_up(device.resolve(args.device, args.precision))
    noise = attacks.load(args.attack, args.eps).to(compute.device) if args.attack else None
    size = (args.height, args.width)
    reading = {"size": size, "preprocessing": args.preprocessing or OWN, "weights": args.weights}
    victim = models.load_victim(args.resume, arch=args.arch, **reading)
    victim.to(compute.device)
    height, width = cli.image_size(args.height, args.width, victim.input.size)
    with stage():
        with stage(0.2):
            samples = loose.samples(args.folder, args.workers)
        store = ImageStore([*samples.values()], height, width, args.workers, "none")
        features = extract(victim, store, compute, args.batch_size, noise).features
    attack = noise and {"sha256": sha256(args.attack), "noise_type": noise.noise_type} | noise.threat.to_dict()
    metadata = {
        "model": {"name": victim.name, "arch": victim.arch, "sha256": victim.sha256, "feature": victim.feature},
        "input": asdict(victim.input),
        "images": {"height": height, "width": width, "interpolation": "bilinear"},
        "precision": compute.precision,
        "attack": attack,
    }
    values = as_features(features, "image").numpy()
    distributed.from_main(lambda: write_features(args.out, list(samples), values, metadata))
    logger.info("%d features of length %d are in %s", *values.shape, args.out)


if __name__ == "__main__":
    cli.run(main)
