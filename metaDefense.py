"""Train a re-ID model that withstands universal perturbations, by meta-learned defence or one of its baselines.

    python metaDefense.py -s market1501 -m personx --combine-trainval -a resMeta \\
        --resume pretrained_models/market.pth --attacker frozen --noise_type 0 \\
        --noise_path1 attackModel/market1501-maml/0/best_perturbation4.pth --logs_dir defenseModel/market

Starts from an undefended model; writes model_best.pth, state.pth (for --resume-from) and logs into --logs_dir, then
reports mAP, clean and attacked. What decides is the attack that is learnt on the defended model itself:
evaluate.py --adaptive.
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reid import datasets, models, training
from reid.datasets import Dataset
from reid.defenses import DEFENSES, Defense
from reid.errors import UsageError
from reid.evaluation import DISTANCES
from reid.runtime import cli, options
from reid.runtime.budgets import format_budget
from reid.runtime.files import slug
from reid.training.adversaries import AdversaryOptions

logger = logging.getLogger("metaDefense")

# what may differ between a killed run and the one that goes on with it: files count by their contents
NOT_SETTINGS = ("resume", "resume_reid", "noise_path1", "evaluate")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv)
    add = parser.add_argument
    add("-s", "--source", required=True, help="dataset to train on: " + ", ".join(datasets.names()))
    add("-m", "--mte", help="virtual dataset, for defences that need one, such as meta")
    add("-a", "--arch", choices=models.names(), help="architecture (default: that of the model to start from)")
    add("--resume", metavar="FILE", help="the undefended model to start from, trained on the source")
    add("--resume_reid", metavar="FILE", help="a defended model to start from instead, or to measure with --evaluate")
    add("--evaluate", action="store_true", help="train nothing, only report on --resume_reid")
    summaries = "; ".join(f"{name}: {DEFENSES.summary(name)}" for name in DEFENSES)
    add("--defense", choices=DEFENSES, default="meta", help=f"what to train on. {summaries}")
    add("--loss", choices=training.LOSSES, default="triplet+ce", help="the released code uses triplet")
    add("--logs_dir", type=Path, help="folder for the model, the state and the logs (default: below defenseModel/)")
    add("--lr", type=cli.positive_float, default=2e-4, help="learning rate of the backbone; 3 times that elsewhere")
    add("--start_save", type=cli.natural_int, default=0, help="first epoch that may be kept as the best")
    add("--dist_metric", choices=DISTANCES, default="euclidean", help="distance between features")
    options.add_options(parser, training.Schedule)
    options.add_options(parser.add_argument_group("adversary"), AdversaryOptions)
    for name in DEFENSES:
        options.add_options(parser.add_argument_group(f"--defense {name}"), DEFENSES[name])
    cli.add_training_options(parser, epochs=85, num_instances=8, margin=0.5)
    cli.add_data_options(parser)
    cli.add_seed_option(parser)
    cli.add_compute_options(parser, precision="auto")
    cli.add_resume_option(parser)
    args = parser.parse_args(argv)
    if args.resume is None and args.resume_reid is None:
        raise UsageError("nothing to start from: give --resume, the undefended model, or --resume_reid, a defended one")
    if args.evaluate and args.resume_reid is None:
        raise UsageError("--evaluate measures a defended model: give it as --resume_reid")
    if DEFENSES[args.defense].needs_virtual and args.mte is None and not args.evaluate:
        raise UsageError(f"--defense {args.defense} needs a virtual dataset: give -m, for example -m personx")
    if args.logs_dir is None:
        name = "-".join([slug(args.source), args.defense, *args.attacker])
        args.logs_dir = Path("defenseModel") / name / str(args.noise_type)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    defense = options.build(DEFENSES[args.defense], vars(args))
    chosen = options.build(AdversaryOptions, vars(args)).used(defense.needs_adversary, args.evaluate)
    from reid.evaluation import distances
    from reid.evaluation.retrieval import Retrieval, log_scores, test_samples, validation
    from reid.loading import Images
    from reid.runtime import device, distributed
    from reid.training.start import starting_checkpoint, starting_model

    start = starting_checkpoint(args.resume_reid or args.resume)
    args.height, args.width = size = cli.image_size(args.height, args.width, start.trained_size)
    compute = device.set_up(device.resolve(args.device, args.precision, size))
    images = Images(*size, args.workers, args.cache)
    scoring = {"batch_size": args.batch_size, "distances": distances.BY_NAME[args.dist_metric]}
    virtual = args.mte and (defense.needs_virtual or defense.takes_virtual) and not args.evaluate
    names = [args.source, args.mte] if virtual else [args.source]
    data = [datasets.create(name, args.data, split=args.split) for name in names]
    sets = [] if args.evaluate else training_sets(args, data, images, defense.needs_labels)
    identities = sets[0].num_classes if sets and defense.needs_labels else None
    model = starting_model(start, identities, args.arch, args.seed).to(compute.device)
    model.recompute_activations = args.checkpointing
    perturbations = chosen.perturbations(compute.device)
    adversary = chosen.adversary(model, perturbations, size, compute.device, args.seed)
    if sets:
        asked = (model, data[0], images, compute.exact(), adversary.attacks)
        validate = None if args.combine_trainval else validation(*asked, **scoring)
        selection = training.Selection(validate, args.eval_every, args.start_save)
        path = train(args, defense, model, data, sets, adversary, compute, selection)
        distributed.from_main(lambda: models.load_checkpoint(model, path))
        distributed.same_(model)
        logger.info("the defended model is %s", path)
    if data[0].query:
        named = dict(zip(args.noise_path1, perturbations, strict=True))
        for attack in adversary.attacks():
            if attack not in perturbations:
                named["PGD" if attack.kind == "image" else f"online {attack.threat.budgets}"] = attack
        sides = images.stores(test_samples(data[0]))
        log_scores(data[0].name, Retrieval(models.Victim(model), sides, compute.exact(), **scoring), named)


def training_sets(args: argparse.Namespace, data: Sequence[Dataset], images: Any, labelled: bool) -> list[Any]:
    """The source, then the virtual set if the defence needs one."""
    shape = {"batch_size": args.batch_size, "num_instances": args.num_instances, "labelled": labelled}
    return [
        training.TrainingSet(
            dataset.name, dataset.trainval if args.combine_trainval else dataset.train, images, seed=seed, **shape
        )
        for seed, dataset in enumerate(data, 2 * args.seed)
    ]


def train(
    args: argparse.Namespace,
    defense: Defense,
    model: Any,
    data: Sequence[Dataset],
    sets: Sequence[Any],
    adversary: Any,
    compute: Any,
    selection: Any,
) -> Path:
    """Train `model` in place; returns the path of its best epoch."""
    from reid.runtime.snapshot import Run
    from reid.training.start import contents

    settings = cli.settings(vars(args) | {"max_eps": format_budget(args.max_eps)}, ignore=NOT_SETTINGS)
    settings |= {"precision": compute.precision}
    settings |= contents(data, start=args.resume_reid or args.resume, attackers=args.noise_path1)
    steps = args.iters_per_epoch or sets[0].batches_per_epoch
    schedule = training.Schedule(args.epochs, steps, args.lr, args.weight_decay, "late", 3, args.ema, args.move)
    loss = training.ReidLoss(args.loss, args.margin)
    trainer = training.Trainer(model, defense, sets, schedule, loss, compute, args.seed, adversary)
    return trainer.train(Run(args.logs_dir, args.resume_from, settings), selection)


if __name__ == "__main__":
    cli.run(main)
