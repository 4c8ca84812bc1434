"""Train an undefended re-ID model, the victim of the attacks; the best epoch is chosen on validation identities.

    python trainReid.py -d market1501 -a resnet50 --pretrained --logs_dir logs/market       # one GPU, the usual recipe
    python trainReid.py -d synth-a -a resnet10 --height 128 --width 64 --epochs 10 --logs_dir logs/synth   # a laptop

Writes model_best.pth, state.pth (for --resume-from), log.txt, metrics.jsonl and TensorBoard files into --logs_dir.
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reid import datasets, models, training
from reid.runtime import cli

logger = logging.getLogger("trainReid")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv)
    parser.add_argument("-d", "--dataset", required=True, help="dataset to train on: " + ", ".join(datasets.names()))
    parser.add_argument("-a", "--arch", choices=models.names(), default="resnet50", help="network")
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

    from reid.defenses.none import NoDefense
    from reid.evaluation.retrieval import validation, validation_samples
    from reid.loading import Images
    from reid.runtime import device
    from reid.runtime.snapshot import Run
    from reid.training.start import contents

    compute = device.set_up(device.resolve(args.device, args.precision, (args.height, args.width)))
    dataset = datasets.create(args.dataset, args.data, split=args.split)
    logger.info("%s", dataset.summary())
    images = Images(args.height, args.width, args.workers, args.cache)
    source = training.TrainingSet(
        dataset.name,
        dataset.trainval if args.combine_trainval else dataset.train,
        images,
        batch_size=args.batch_size,
        num_instances=args.num_instances,
        seed=args.seed,
        jitter=args.jitter,
    )
    model = models.create(args.arch, source.num_classes, args.pretrained, seed=args.seed)
    model.recompute_activations = args.checkpointing
    settings = cli.settings(vars(args)) | contents([dataset]) | {"precision": compute.precision}
    validate = None
    if not args.combine_trainval:
        sides = images.stores(validation_samples(dataset))
        validate = validation(model, sides, compute.exact(), batch_size=args.batch_size)
    steps = args.iters_per_epoch or source.batches_per_epoch
    schedule = training.Schedule(args.epochs, steps, args.lr, args.weight_decay)
    loss = training.ReidLoss(margin=args.margin)
    trainer = training.Trainer(model, NoDefense(), [source], schedule, loss, compute, args.seed)
    best = trainer.train(Run(args.logs_dir, args.resume_from, settings), training.Selection(validate, args.eval_every))
    logger.info("the best model is %s", best)


if __name__ == "__main__":
    cli.run(main)
