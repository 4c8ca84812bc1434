"""Learn one universal perturbation for all images against a re-ID model, by virtual-guided meta-learning.

    python metaAttack.py -s market1501 -t dukemtmc -m personx --combine-trainval \\
        --resume pretrained_models/market.pth --resumeTgt pretrained_models/duke.pth --noise_type 0

Meta-trains on the source, meta-tests on the virtual set; then reports mAP, clean and attacked, on the source and, with
-t and --resumeTgt, on the target. Writes best_perturbation{epoch}.pth into --noise_resume after every epoch.
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reid import datasets, models
from reid.attacks import RECIPES
from reid.attacks.universal import TYPE_NAMES
from reid.errors import UsageError
from reid.models.readings import PREPROCESSINGS
from reid.runtime import cli
from reid.runtime.budgets import format_budget
from reid.runtime.files import slug

logger = logging.getLogger("metaAttack")

# what may differ between a killed run and the one that goes on with it: files count by their contents
NOT_SETTINGS = ("resume", "weights", "target", "resumeTgt", "noise_resume", "print_freq")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv)
    known = ", ".join(datasets.names())
    types = ", ".join(f"{number}: {words}" for number, words in TYPE_NAMES.items())
    parser.add_argument("-s", "--source", required=True, help=f"dataset to meta-train on: {known}")
    parser.add_argument("-t", "--target", help="another dataset to report on, with the model of --resumeTgt")
    parser.add_argument("-m", "--mte", help="virtual dataset to meta-test on; --recipe none does without")
    cli.add_model_options(parser, models.names(), PREPROCESSINGS)
    parser.add_argument("--resumeTgt", metavar="SPEC", help="a model trained on the target, to report transfer")
    parser.add_argument("--noise_type", type=int, choices=list(TYPE_NAMES), default=0, help=types)
    parser.add_argument(
        "--lp", type=cli.positive_budget, default=8 / 255, metavar="EPS", help="L-inf budget per component"
    )
    parser.add_argument(
        "--recipe",
        "--meta",
        choices=list(RECIPES),
        default="maml",
        help="how to learn: " + "; ".join(f"{name}: {RECIPES.summary(name)}" for name in RECIPES),
    )
    parser.add_argument(
        "--noise_resume", type=Path, help="folder for the perturbations (default: attackModel/SOURCE-RECIPE/TYPE)"
    )
    parser.add_argument("--logs_dir", type=Path, help="folder for state and logs (default: that of --noise_resume)")
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images per batch and set, P x K")
    parser.add_argument("--num-instances", type=cli.positive_int, default=8, help="K: images per identity in a batch")
    parser.add_argument("--epoch", "--epochs", type=cli.positive_int, default=5, help="epochs")
    parser.add_argument(
        "--iters-per-epoch", type=cli.positive_int, help="steps per epoch (default: all source identities once)"
    )
    parser.add_argument("--combine-trainval", action="store_true", help="learn on the validation identities too")
    parser.add_argument(
        "--print_freq", type=cli.positive_int, default=10, help="steps between updates of the shown loss"
    )
    cli.add_data_options(parser)
    cli.add_seed_option(parser)
    cli.add_compute_options(parser, precision="auto")
    cli.add_resume_option(parser)
    args = parser.parse_args(argv)
    if (args.target is None) != (args.resumeTgt is None):
        raise UsageError("-t and --resumeTgt go together: the target dataset and a model trained on it; give both")
    if args.noise_resume is None:
        args.noise_resume = Path("attackModel") / f"{slug(args.source)}-{args.recipe}" / str(args.noise_type)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    recipe = RECIPES[args.recipe]
    if recipe.needs_virtual and args.mte is None:
        raise UsageError(f"--recipe {args.recipe} needs a virtual dataset: give -m, for example -m personx")
    from reid import attacks
    from reid.attacks.universal.learn import Learner, clean_batches, learn
    from reid.datasets.contents import contents_sha256
    from reid.evaluation.detective import choose_victim
    from reid.evaluation.distances import BY_NAME
    from reid.evaluation.results import versions
    from reid.evaluation.retrieval import Retrieval, log_scores, test_samples
    from reid.loading import Images
    from reid.models.sources import open_model
    from reid.runtime import device
    from reid.runtime.progress import progress, stage
    from reid.runtime.snapshot import Run

    compute = device.set_up(device.resolve(args.device, args.precision))
    size = (args.height, args.width)
    model = open_model(args.resume, args.weights)
    source = datasets.create(args.source, args.data, split=args.split)
    reading = {"size": size, "arch": args.arch, "workers": args.workers}
    victim = choose_victim(model, args.preprocessing, source, compute, **reading)
    images = Images(*cli.image_size(*size, victim.input.size), args.workers, args.cache)
    reported = [(source, victim, model.distance)] if source.query else []
    if args.target:
        target = datasets.create(args.target, args.data, split=args.split)
        test_samples(target)
        other = open_model(args.resumeTgt, args.weights)
        transfer = choose_victim(other, None, target, compute, size=(images.height, images.width))
        reported.append((target, transfer, other.distance))
    sets = [source, *([datasets.create(args.mte, args.data, split=args.split)] if args.mte else [])]
    parts = [(each.name, each.trainval if args.combine_trainval else each.train) for each in sets]
    noise = attacks.create(args.noise_type, args.lp, args.lp, images.height, images.width).to(compute.device)
    batches, steps = [], args.iters_per_epoch
    for set_seed, (name, samples) in enumerate(parts, 2 * args.seed):
        drawn = (args.batch_size, args.num_instances, set_seed, args.epoch, steps)
        batches.append(clean_batches(name, images.store(samples), victim, compute, *drawn))
        steps = batches[0].steps  # as many in the virtual set as in the source
    settings = cli.settings(vars(args) | {"lp": format_budget(args.lp)}, ignore=NOT_SETTINGS) | {
        "height": str(images.height),
        "width": str(images.width),
        "precision": compute.precision,
        "victim_sha256": victim.sha256,
        "learnt_from": ", ".join(contents_sha256(samples, args.workers) for _, samples in parts),
    }
    virtual = batches[1] if args.mte else None
    learner = Learner(noise, batches[0], virtual, recipe, args.print_freq)
    run = Run(args.logs_dir or args.noise_resume, args.resume_from, settings)
    with stage():
        with stage(0.9):  # more or less
            path = learn(learner, args.noise_resume, run, provenance=settings | versions())
        del batches, virtual, learner  # their images and features make room for those of the report
        for dataset, attacked, distance in progress(reported, len(reported), ""):
            stores = images.stores(test_samples(dataset))
            ranked = Retrieval(attacked, stores, compute.exact(), args.batch_size, distances=BY_NAME[distance])
            log_scores(dataset.name, ranked, {"attacked": noise})
    logger.info("the perturbation is %s", path)


if __name__ == "__main__":
    cli.run(main)
