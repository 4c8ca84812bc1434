"""Train an undefended re-ID model, the victim of the attacks; the best epoch is chosen on validation identities.

    python trainReid.py -d market1501 -a resnet50 --pretrained --logs_dir logs/market       # one GPU, the usual recipe
    python trainReid.py -d synth-a -a resnet10 --height 128 --width 64 --epochs 10 --logs_dir logs/synth   # a laptop

Writes model_best.pth, state.pth (for --resume-from), log.txt, metrics.jsonl and TensorBoard files into --logs_dir.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from reid import datasets, models
from reid.datasets import Dataset
from reid.defenses import Recipe, Selection, Trainer, TrainingSet
from reid.evaluation.protocol import Protocol, validation_samples
from reid.models.network import ReidModel
from reid.training import cli, device
from reid.training.snapshot import Run

logger = logging.getLogger("trainReid")

# what may differ between a killed run and the one that goes on with it
NOT_SETTINGS = ("logs_dir", "resume_from", "workers", "device", "data")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__)
    parser.add_argument("-d", "--dataset", required=True, help="dataset to train on: " + ", ".join(datasets.names()))
    parser.add_argument("-a", "--arch", choices=models.names(), default="resnet50", help="network")
    parser.add_argument("--pretrained", action="store_true", help="start from torchvision's ImageNet weights")
    parser.add_argument("--logs_dir", type=Path, required=True, help="folder for the model, the state and the logs")
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images per batch, P x K")
    parser.add_argument("--num-instances", type=cli.positive_int, default=4, help="K: images per identity in a batch")
    parser.add_argument("--epochs", type=cli.positive_int, default=60, help="epochs")
    parser.add_argument("--iters-per-epoch", type=cli.positive_int, help="batches per epoch; None: images / batch size")
    parser.add_argument("--lr", type=cli.positive_float, default=3.5e-4, help="peak learning rate of Adam")
    parser.add_argument("--weight-decay", type=cli.natural_float, default=5e-4, help="weight decay")
    parser.add_argument("--margin", type=cli.natural_float, default=0.3, help="margin of the hard triplet loss")
    parser.add_argument("--eval-every", type=cli.positive_int, default=5, help="epochs between validations")
    parser.add_argument(
        "--combine-trainval",
        action="store_true",
        help="train on the validation identities too, keep the last epoch",
    )
    cli.add_data_options(parser)
    cli.add_seed_option(parser)
    cli.add_compute_options(parser, precision="auto")
    cli.add_resume_option(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    compute = device.resolve(args.device, args.precision)
    dataset = datasets.create(args.dataset, args.data, split=args.split)
    logger.info("%s", dataset.summary())
    samples = dataset.trainval if args.combine_trainval else dataset.train
    source = TrainingSet(
        dataset.name,
        samples,
        height=args.height,
        width=args.width,
        workers=args.workers,
        batch_size=args.batch_size,
        num_instances=args.num_instances,
        seed=args.seed,
    )
    iterations = args.iters_per_epoch or max(1, len(samples) // args.batch_size)
    recipe = Recipe(args.epochs, iterations, args.lr, args.weight_decay, args.margin)
    model = models.create(args.arch, source.num_classes, args.pretrained, seed=args.seed)
    settings = cli.settings(args, ignore=NOT_SETTINGS) | {"precision": compute.precision}
    best = Trainer(model, source, recipe, compute, args.seed).train(
        Run(args.logs_dir, args.resume_from, settings),
        Selection(None if args.combine_trainval else validation(model, dataset, args, compute), args.eval_every),
        {"trained_on": dataset.name, "height": args.height, "width": args.width, "settings": settings},
    )
    logger.info("the best model is %s", best)


def validation(
    model: ReidModel, dataset: Dataset, args: argparse.Namespace, compute: device.Compute
) -> Callable[[], dict[str, float]]:
    """A function that gives the mAP on the validation identities of the model as it then is."""
    samples = validation_samples(dataset)

    def scores() -> dict[str, float]:
        protocol = Protocol.of(model.eval().features, samples, args, compute, batch_size=args.batch_size)
        return {"val_mAP": protocol.score().ranking.mAP}

    return scores


if __name__ == "__main__":
    cli.run(main)
