"""Train an undefended re-ID model, the victim of the attacks; the best epoch is chosen on validation identities.

    python trainReid.py -d market1501 -a resnet50 --pretrained --logs_dir logs/market       # one GPU, the usual recipe
    python trainReid.py -d synth-a -a resnet10 --height 128 --width 64 --epochs 10 --logs_dir logs/synth   # a laptop

Writes model_best.pth, state.pth (for --resume-from), log.txt, metrics.jsonl and TensorBoard files into --logs_dir.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reid import datasets
from reid.runtime import cli

logger = logging.getLogger("trainReid")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv)
    parser.add_argument("-d", "--dataset", required=True, help="dataset to train on: " + ", ".join(datasets.names()))
    parser.add_argument("-a", "--arch", default="resnet50", help="network: resnet10 to resnet152, or resMeta")
    parser.add_argument("--pretrained", action="store_true", help="start from torchvision's ImageNet weights")
    parser.add_argument("--logs_dir", type=Path, required=True, help="folder for the model, the state and the logs")
    parser.add_argument("--lr", type=cli.positive_float, default=3.5e-4, help="peak learning rate of Adam")
    cli.add_training_options(parser, epochs=60, num_instances=4, margin=0.3)
    cli.add_data_options(parser)
    cli.add_seed_option(parser)
    cli.add_compute_options(parser, precision="auto")
    cli.add_resume_option(parser)
    args = parser.parse_args(argv)
    args.height, args.width = cli.image_size(args.height, args.width)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)

    from reid.evaluation.retrieval import validation

    from reid import models
    from reid.datasets.contents import contents_sha256
    from reid.defenses.none import NoDefense
    from reid.loading import Images
    from reid.runtime import device, distributed
    from reid.runtime.snapshot import Run
    from reid.training.batches import TrainingSet
    from reid.training.losses import ReidLoss
    from reid.training.schedule import Schedule
    from reid.training.trainer import Selection, Trainer

    compute = device.set_up(device.resolve(args.device, args.precision))
    dataset = datasets.create(args.dataset, args.data, split=args.split)
    logger.info("%s", dataset.summary())
    images = Images(args.height, args.width, args.workers, args.cache)
    samples = dataset.trainval if args.combine_trainval else dataset.train
    shape = {"batch_size": args.batch_size, "num_instances": args.num_instances}
    source = TrainingSet(dataset.name, samples, images, **shape, seed=args.seed)
    model = models.create(args.arch, source.num_classes, args.pretrained, seed=args.seed)
    model.checkpointing = args.checkpointing
    iterations = args.iters_per_epoch or max(1, len(samples) // args.batch_size)
    settings = cli.settings(vars(args)) | {
        "precision": compute.precision,
        "source_sha256": distributed.from_main(lambda: contents_sha256(dataset.trainval, args.workers)),
    }
    validate = None
    if not args.combine_trainval:
        validate = validation(model, dataset, images, compute.exact(), batch_size=args.batch_size)
    schedule = Schedule(args.epochs, iterations, args.lr, args.weight_decay)
    best = Trainer(model, NoDefense(), source, schedule, ReidLoss(margin=args.margin), compute, args.seed).train(
        Run(args.logs_dir, args.resume_from, settings),
        Selection(validate, args.eval_every),
        {"trained_on": dataset.name, "height": args.height, "width": args.width, "settings": settings},
    )
    logger.info("the best model is %s", best)


if __name__ == "__main__":
    cli.run(main)
