"""Train a re-ID model that withstands universal perturbations, by meta-learned defence or one of its baselines.

    python metaDefense.py -s market1501 -m personx --combine-trainval -a resMeta \\
        --resume pretrained_models/market.pth --attacker frozen --noise_type 0 \\
        --noise_path1 attackModel/market1501-maml/0/best_perturbation4.pth --logs_dir defenseModel/market
    python metaDefense.py -s synth-wide -m synth-virtual --resume my.onnx --defense anchored --attacker online-delta pgd

Starts from an undefended model, ours or any other (docs/defend-your-model.md); writes model_best, in the format that it
came in, its card.md, state.pth (for --resume-from) and logs into --logs_dir, then reports mAP, clean and attacked. What
decides is the attack that is learnt on the defended model itself: evaluate.py --suite reid-fast-v1.
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reid import datasets, models, training
from reid.defenses import DEFENSES, Defense
from reid.errors import UsageError
from reid.evaluation import DISTANCES
from reid.models.readings import PREPROCESSINGS
from reid.runtime import cli, options
from reid.runtime.budgets import format_budget
from reid.runtime.files import slug
from reid.training.adversaries import AdversaryOptions

logger = logging.getLogger("metaDefense")

# what may differ between a killed run and the one that goes on with it: files count by their contents
NOT_SETTINGS = ("resume", "resume_reid", "weights", "noise_path1", "evaluate", "command")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv)
    add = parser.add_argument
    add("-s", "--source", required=True, help="dataset to train on: " + ", ".join(datasets.names()))
    add("-m", "--mte", help="virtual dataset, if needed; also to choose by if -s has no identities under two cameras")
    drawn = "training identities of drawn sets (synth-...), which are drawn where --data lacks them (default: 80)"
    add("--ids", type=cli.positive_int, help=drawn)
    add("-a", "--arch", choices=models.names(), help="architecture (default: that of the model to start from)")
    specs = "a checkpoint of a known family, an ONNX file, timm:NAME[:FILE], package.module:function[:FILE] or zoo:NAME"
    add("--resume", metavar="SPEC", help=f"the undefended model to start from: {specs} (docs/defend-your-model.md)")
    add("--resume_reid", metavar="SPEC", help="a defended model to start from instead, or to measure with --evaluate")
    cli.add_weights_option(add)
    cli.add_reading_option(add, PREPROCESSINGS)
    norms = "eval: keep the statistics, train the weights; live: those of each batch; auto: live for this project's "
    add("--batch-norm", choices=training.BATCH_NORMS, default="auto", help=f"{norms}networks, eval for all others")
    add("--evaluate", action="store_true", help="train nothing, only report on --resume_reid")
    summaries = "; ".join(f"{name}: {DEFENSES.summary(name)}" for name in DEFENSES)
    add("--defense", choices=DEFENSES, default="meta", help=f"what to train on. {summaries}")
    add("--loss", choices=training.LOSSES, default="triplet+ce", help="the released code uses triplet")
    add("--logs_dir", type=Path, help="folder for the model, the state and the logs (default: below defenseModel/)")
    add("--lr", type=cli.positive_float, default=2e-4, help="learning rate of the backbone; 3 times that elsewhere")
    add("--start_save", type=cli.natural_int, default=0, help="first epoch that may be kept as the best")
    add("--dist_metric", choices=DISTANCES, help="distance between features (default: the model's own)")
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
    args.command = shlex.join([Path(sys.argv[0]).name, *(sys.argv[1:] if argv is None else argv)])
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    defense = options.build(DEFENSES[args.defense], vars(args))
    chosen = options.build(AdversaryOptions, vars(args)).used(defense.needs_adversary, args.evaluate)
    from reid.evaluation import distances, starting
    from reid.evaluation.retrieval import Retrieval, log_scores, test_samples
    from reid.loading import Images
    from reid.models.adopted import victim_of
    from reid.runtime import device, progress
    from reid.training.start import open_start

    source = open_start(args.resume_reid or args.resume, args.weights)
    asked = starting.expected_size(source, args.preprocessing, (args.height, args.width))
    compute = device.set_up(device.resolve(args.device, args.precision, asked))
    labelled, args.dist_metric = defense.needs_labels or args.evaluate, args.dist_metric or source.distance
    takes = defense.needs_virtual or defense.takes_virtual or not labelled
    virtual = args.mte and not args.evaluate and takes
    names = [args.source, *([args.mte] if virtual else [])]
    data = starting.open_sets(names, args.data, args.split, asked, args.ids, labelled, args.seed)
    start = starting.Start.of(source, args.preprocessing, data, compute, (args.height, args.width), args.arch)
    args.height, args.width = size = cli.image_size(args.height, args.width, start.size)
    images = Images(*size, args.workers, args.cache)
    scoring = {"batch_size": args.batch_size, "distances": distances.BY_NAME[args.dist_metric]}
    shape = {"batch_size": args.batch_size, "num_instances": args.num_instances, "labelled": labelled}
    trained = [] if args.evaluate else data[: 1 + (defense.needs_virtual or defense.takes_virtual)]
    sets = starting.training_sets(trained, images, args.combine_trainval, args.seed, jitter=args.jitter, **shape)
    identities = sets[0].num_classes if sets and labelled else None
    model = start.model(identities, args.arch, args.seed, args.batch_norm, args.checkpointing, args.dist_metric)
    perturbations = chosen.perturbations(compute.device)
    adversary = chosen.adversary(model, perturbations, size, compute.device, args.seed)
    with progress.stage():
        if sets:
            start.make_ready(model, sets[0] if labelled else None, args.batch_size)
            judge = None if args.combine_trainval else starting.judge(data, labelled)
            scores = starting.Scores(model, judge, images, compute, adversary.attacks, scoring)
            with progress.stage(0.9):  # more or less
                train(args, defense, sets, adversary, start, scores)
        if data[0].query:
            named = chosen.named(perturbations, adversary)
            sides = images.stores(test_samples(data[0]))
            log_scores(data[0].name, Retrieval(victim_of(model), sides, compute.exact(), **scoring), named)


def train(args: argparse.Namespace, defense: Defense, sets: Any, adversary: Any, start: Any, scores: Any) -> None:
    """Train the model of `scores` in place, up to its best epoch, and write that with its card."""
    from reid.runtime.snapshot import Run
    from reid.training.start import contents

    settings = cli.settings(vars(args) | {"max_eps": format_budget(args.max_eps)}, ignore=NOT_SETTINGS)
    settings |= {"precision": start.compute.precision} | contents(start.data, start.source.sha256, args.noise_path1)
    steps = args.iters_per_epoch or sets[0].batches_per_epoch
    fixed = {"epochs": args.epochs, "iters_per_epoch": steps, "lr": args.lr, "weight_decay": args.weight_decay}
    schedule = options.build(training.Schedule, vars(args), **fixed, shape="late", new_layers=3)
    loss = training.ReidLoss(args.loss, args.margin, relative=start.victim is not None)
    trainer = training.Trainer(scores.model, defense, sets, schedule, loss, start.compute, args.seed, adversary)
    selection = training.Selection(scores.validate, args.eval_every, args.start_save)
    before = scores.clean()
    path = trainer.train(Run(args.logs_dir, args.resume_from, settings), selection, start.returned)
    start.read_back(scores.model, path)
    about = {"steps": str(args.epochs * steps), "command": args.command, "batch_norm": scores.model.batch_norm}
    about["attacker"] = ", ".join(args.attacker) if defense.needs_adversary else "none"
    card = start.card(settings | about, before, scores.clean(), path)
    logger.info("the defended model is %s; %s says what was done with it", path, card)


if __name__ == "__main__":
    cli.run(main)
