"""The picture of an attack: images before and after, the colour table, and ranked lists before and after.

    python -m reid.report.picture -d market1501 --resume pretrained_models/market.pth \\
        --attack attackModel/market1501-maml/0/best_perturbation4.pth --out picture.png
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reid import datasets, models
from reid.errors import UsageError
from reid.models.readings import PREPROCESSINGS
from reid.runtime import cli

logger = logging.getLogger(__name__)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.report.picture")
    parser.add_argument("-d", "--dataset", required=True, help="dataset to rank: " + ", ".join(datasets.names()))
    cli.add_model_options(parser, models.names(), PREPROCESSINGS)
    parser.add_argument("--attack", required=True, metavar="FILE", help="perturbation file")
    parser.add_argument("--out", type=Path, default=Path("picture.png"), metavar="PNG", help="the picture to write")
    parser.add_argument("--queries", type=cli.positive_int, default=4, help="how many queries to show")
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images per forward pass")
    cli.add_data_options(parser)
    cli.add_compute_options(parser, precision="fp32")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    from reid import attacks
    from reid.evaluation.detective import choose_victim
    from reid.evaluation.distances import BY_NAME
    from reid.evaluation.retrieval import Retrieval, test_samples
    from reid.loading import Images
    from reid.models.sources import open_model
    from reid.report.pictures import attack_picture
    from reid.runtime import device
    from reid.runtime.files import write_atomically

    if args.out.suffix.lower() != ".png":
        raise UsageError(f"--out {args.out} must end in .png")
    compute = device.set_up(device.resolve(args.device, args.precision))
    model, noise = open_model(args.resume, args.weights), attacks.load(args.attack).to(compute.device)
    dataset = datasets.create(args.dataset, args.data, split=args.split)
    size = (args.height, args.width)
    victim = choose_victim(model, args.preprocessing, dataset, compute, size=size, arch=args.arch)
    images = Images(*cli.image_size(*size, victim.input.size), args.workers, args.cache)
    stores, distances = images.stores(test_samples(dataset)), BY_NAME[model.distance]
    retrieval = Retrieval(victim, stores, compute, args.batch_size, distances=distances)
    title = f"{dataset.name}, {victim.arch}, noise type {noise.noise_type}"
    picture = attack_picture(retrieval, noise, title, min(args.queries, len(retrieval.query)))
    write_atomically(args.out, lambda temporary: picture.save(temporary, format="PNG"))
    logger.info("the picture is %s", args.out)


if __name__ == "__main__":
    cli.run(main)
