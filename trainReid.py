"""Train an undefended re-ID model, the victim of the attacks; the best epoch is chosen on validation identities.

    python trainReid.py -d market1501 -a resnet50 --pretrained --logs_dir logs/market       # one GPU, the usual recipe
    python trainReid.py -d synth-a -a resnet10 --height 128 --width 64 --epochs 10 --logs_dir logs/synth   # a laptop

Writes model_best.pth, state.pth (for --resume-from), log.txt, metrics.jsonl and TensorBoard files into --logs_dir.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reid import datasets, models
from reid.evaluation.protocol import validation
from reid.runtime import cli, device
from reid.runtime.snapshot import Run
from reid.training import Recipe, Selection, Trainer, TrainingSet

logger = logging.getLogger("trainReid")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__)
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
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    compute = device.resolve(args.device, args.precision)
    dataset = datasets.create(args.dataset, args.data, split=args.split)
    logger.info("%s", dataset.summary())
    source = TrainingSet.of(dataset, args, args.seed)
    iterations = args.iters_per_epoch or max(1, len(source.samples) // args.batch_size)
    recipe = Recipe(args.epochs, iterations, args.lr, args.weight_decay, args.margin)
    model = models.create(args.arch, source.num_classes, args.pretrained, seed=args.seed)
    model.recompute_activations = args.checkpointing
    settings = cli.settings(args) | {"precision": compute.precision}
    validate = None
    if not args.combine_trainval:
        validate = validation(model, dataset, args, compute, batch_size=args.batch_size)
    best = Trainer(model, source, recipe, compute, args.seed).train(
        Run(args.logs_dir, args.resume_from, settings),
        Selection(validate, args.eval_every),
        {"trained_on": dataset.name, "height": args.height, "width": args.width, "settings": settings},
    )
    logger.info("the best model is %s", best)


if __name__ == "__main__":
    cli.run(main)
