"""mAP, mINP and CMC of a re-ID model: clean, under given perturbations, and under random ones at the same budget.

    python evaluate.py -d market1501 --resume pretrained_models/market.pth \\
        --attack attackModel/market1501-maml/0/best_perturbation4.pth
    python evaluate.py -d market1501 --resume defenseModel/market/model_best.pth --adaptive \\
        --attack attackModel/market1501-maml/0/best_perturbation4.pth

--adaptive adds attacks that know this very model: perturbations of the same threat learnt on it, from several starts,
the worst of which counts, and attacks on each image. Without it the robustness of a defended model is not known.
Prints a table and writes one JSON file per line of it into --results (docs/results-format.md).
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import argparse
import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from reid import datasets, models
from reid.attacks import IMAGE, RECIPES, SEARCH
from reid.attacks.threat import SIDES
from reid.errors import UsageError
from reid.evaluation import DISTANCES
from reid.evaluation.effort import Effort
from reid.evaluation.suites import SUITES
from reid.models.readings import PREPROCESSINGS
from reid.runtime import cli
from reid.runtime.options import add_options, build

logger = logging.getLogger("evaluate")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv)
    parser.add_argument("-d", "--dataset", required=True, help="dataset to rank: " + ", ".join(datasets.names()))
    cli.add_model_options(parser, models.names(), PREPROCESSINGS)
    parser.add_argument("--attack", nargs="+", default=[], metavar="FILE", help="perturbation files, released or ours")
    parser.add_argument("--side", choices=SIDES, default="query", help="which images are attacked")
    budget = "budget per component, such as 8/255 (default: as in each file of --attack, else 8/255)"
    parser.add_argument("--eps", type=cli.budget, help=budget)
    metric = "distance between features (default: that of the model's authors; euclidean for ours, and with --rerank)"
    parser.add_argument("--dist_metric", choices=DISTANCES, help=metric)
    parser.add_argument("--rerank", action="store_true", help="k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3)")
    cuhk03 = "add the cuhk03 curve, averaged over N random galleries per query (default: it is left out)"
    parser.add_argument("--cuhk03-repeats", type=cli.positive_int, metavar="N", help=cuhk03)
    adaptive = parser.add_argument_group("attacks that know the model")
    suites = "what is measured: " + "; ".join(f"{name}: {SUITES.summary(name)}" for name in SUITES)
    adaptive.add_argument("--suite", choices=list(SUITES), default="given", help=suites)
    adaptive.add_argument("--adaptive", action="store_const", const="adaptive", dest="suite", help="--suite adaptive")
    recipes = "how to re-learn perturbations (default: as the suite says)"
    adaptive.add_argument("--recipe", nargs="+", choices=list(RECIPES), help=recipes)
    image = f"attacks on each image: {', '.join([*IMAGE, *SEARCH])}; such as pgd:steps=50 (default: as the suite says)"
    adaptive.add_argument("--image-attack", nargs="+", metavar="NAME[:SETTING=VALUE,...]", help=image)
    adaptive.add_argument("--learn-on", metavar="NAME", help="dataset whose training images to learn on (default: -d)")
    adaptive.add_argument("-m", "--mte", metavar="NAME", help="virtual dataset, for a --recipe that needs one")
    total = "re-learn delta alone too, at the total budget of colour and delta together"
    adaptive.add_argument("--equal-total", action="store_true", help=total)
    add_options(adaptive, Effort)
    steps = "steps of pgd, unless --image-attack sets its steps"
    adaptive.add_argument("--pgd-steps", type=cli.positive_int, default=15, help=steps)
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images per batch")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="folder of the results")
    parser.add_argument("--reuse", action="store_true", help="do not measure again what --results already holds")
    listed = "write the gallery files that come first for each query, unlabelled ones too, into this JSON file"
    parser.add_argument("--rank-list", type=Path, metavar="FILE", help=listed)
    parser.add_argument("--topk", type=cli.positive_int, metavar="K", help="how many --rank-list has (default: 10)")
    cli.add_data_options(parser)
    cli.add_seed_option(parser)
    cli.add_compute_options(parser, precision="fp32")
    args = parser.parse_args(argv)
    if args.topk and not args.rank_list:
        raise UsageError("--topk is the length of rank lists; give a file as --rank-list, or leave --topk out")
    if args.rerank and args.dist_metric == "cosine":
        raise UsageError("--rerank works on Euclidean distances; leave --dist_metric out")
    for recipe in args.recipe or SUITES[args.suite].recipes:
        if args.mte is None and RECIPES[recipe].needs_virtual:
            raise UsageError(f"--recipe {recipe} needs a virtual dataset: give -m, for example -m personx")
    if not (args.recipe or SUITES[args.suite].recipes) and (args.warm_start or args.equal_total):
        raise UsageError("--warm-start and --equal-total are for re-learning; give a --recipe, or leave them out")
    args.command = shlex.join([Path(sys.argv[0]).name, *(sys.argv[1:] if argv is None else argv)])
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    from reid.evaluation.detective import choose_victim
    from reid.evaluation.distances import BY_NAME
    from reid.evaluation.experiment import Experiment, protocol_settings
    from reid.evaluation.ranklists import RankLists, listed_samples
    from reid.evaluation.relearning import Relearning, training_source
    from reid.evaluation.rerank import k_reciprocal
    from reid.evaluation.retrieval import Retrieval, test_samples
    from reid.evaluation.rows import CLEAN_ROW, DISTORTIONS, Row, control_rows, file_rows, image_rows, learnable
    from reid.evaluation.rows import threats_of
    from reid.loading import Images
    from reid.models.sources import open_model
    from reid.models.trial import described
    from reid.report.table import summary
    from reid.runtime import device, distributed

    compute = device.set_up(device.resolve(args.device, args.precision))
    suite = SUITES[args.suite]
    files = file_rows(args.attack, args.eps)  # these before the model and the data, so that a wrong one shows at once
    threats = threats_of(files, args.eps)
    image = image_rows(args.image_attack or suite.image, threats, args.pgd_steps, args.seed)
    source = open_model(args.resume)
    dataset = datasets.create(args.dataset, args.data, split=args.split)
    distance = args.dist_metric or ("euclidean" if args.rerank else source.distance)
    reading = {"size": (args.height, args.width), "arch": args.arch, "distance": distance}
    victim = choose_victim(source, args.preprocessing, dataset, compute, **reading)
    images = Images(*cli.image_size(args.height, args.width, victim.input.size), args.workers, args.cache)
    controls = [*control_rows(threats, args.seed, images.height, images.width), *DISTORTIONS] if suite.controls else []
    recipes, known = args.recipe or suite.recipes, None
    if recipes or any("training" in row.attack.needs for row in image if row.attack):
        known = training_source(args.learn_on or args.dataset, args.data, args.split)
    retrieval = Retrieval(
        victim,
        images.stores(listed_samples(dataset) if args.rank_list else test_samples(dataset)),
        compute,
        args.batch_size,
        images.store(known.samples) if known else None,
        distances=k_reciprocal() if args.rerank else BY_NAME[distance],
        cuhk03_repeats=args.cuhk03_repeats or 0,
        cuhk03_seed=args.seed,
    )
    unknown = images.store(dataset.unknown)
    lists = args.rank_list and RankLists(args.rank_list, args.topk or 10, dataset, retrieval, unknown, args.results)
    experiment = Experiment(
        retrieval,
        dataset,
        victim={"path": args.resume, **described(victim)},
        settings=protocol_settings(images, compute, args.side, distance, args.rerank, args.cuhk03_repeats),
        side=args.side,
        seed=args.seed,
        command=args.command,
        folder=args.results,
        lists=lists,
    )
    relearnt: Iterable[Row] = ()
    if recipes and known:
        virtual = training_source(args.mte, args.data, args.split) if args.mte else None
        effort = build(Effort, vars(args), batch_size=args.batch_size)
        kept = args.results / "attackers"
        relearning = Relearning(victim, known, images, effort, compute, args.seed, kept, virtual)
        relearnt = relearning.rows(recipes, learnable(threats, args.side, args.equal_total), args.reuse)
    distributed.can_resume(f"start them again, with --reuse to keep the results in {args.results}")
    results = list(experiment.run([CLEAN_ROW, *files, *relearnt, *image, *controls], args.reuse))
    if distributed.is_main() and results:
        print(summary(results))
        logger.info("results are in %s", args.results)
    if lists:
        logger.info("rank lists are in %s%s", args.rank_list, "" if results else "; no query has a pid to be scored by")


if __name__ == "__main__":
    cli.run(main)
