"""mAP, mINP and CMC of a re-ID model: clean, under given perturbations, and under random ones at the same budget.

    python evaluate.py -d market1501 --resume pretrained_models/market.pth \\
        --attack attackModel/market1501-maml/0/best_perturbation4.pth
    python evaluate.py -d market1501 --resume defenseModel/market/model_best.pth --suite reid-fast-v1

A suite adds attacks that know this very model: perturbations learnt on it, attacks on each image, search. Without one
the robustness of a model is not known. Those named reid-... end with a page, report.html, and a verdict: what the
strongest perturbation for all images leaves, and the worst case of each query under attacks on each (docs/suite.md).
Prints a table and writes one JSON file per line of it into --results (docs/results-format.md).
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from reid import datasets, models
from reid.attacks.threat import SIDES
from reid.errors import UsageError
from reid.evaluation.effort import Effort
from reid.evaluation.protocol import Protocol
from reid.evaluation.suites import add_attack_options, customised
from reid.models.readings import PREPROCESSINGS
from reid.runtime import cli
from reid.runtime.options import add_options, build

logger = logging.getLogger("evaluate")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv)
    add = parser.add_argument
    add("-d", "--dataset", required=True, help="dataset to rank: " + ", ".join(datasets.names()))
    add("--attack", nargs="+", default=[], metavar="FILE", help="perturbation files: ours, released, .npy, .png, .cube")
    add("--side", choices=SIDES, default="query", help="which images are attacked, where the suite does not say it")
    budget = "budgets per component, such as 8/255; several give a curve (default: as in each file of --attack, else "
    add("--eps", type=cli.budget, nargs="+", default=[], help=f"{budget}8/255)")
    add_options(parser, Protocol)
    add("--batch_size", type=cli.positive_int, default=64, help="images per batch")
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="folder of the results")
    add("--reuse", action="store_true", help="do not measure again what --results already holds")
    listed = "write the gallery files that come first for each query, unlabelled ones too, into this JSON file"
    add("--rank-list", type=Path, metavar="FILE", help=listed)
    add("--topk", type=cli.positive_int, metavar="K", help="how many --rank-list has (default: 10)")
    cli.add_model_options(parser, models.names(), PREPROCESSINGS)
    add_attack_options(parser)
    cli.add_data_options(parser)
    cli.add_seed_option(parser)
    cli.add_compute_options(parser, precision="fp32")
    args = parser.parse_args(argv)
    if args.topk and not args.rank_list:
        raise UsageError("--topk is the length of rank lists; give a file as --rank-list, or leave --topk out")
    args.command = shlex.join([Path(sys.argv[0]).name, *(sys.argv[1:] if argv is None else argv)])
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    from reid.evaluation.detective import choose_victim
    from reid.evaluation.experiment import Experiment
    from reid.evaluation.features import ids_of
    from reid.evaluation.plan import Plan, knows_training, possible, surrogates_of
    from reid.evaluation.ranklists import RankLists, listed_samples
    from reid.evaluation.relearning import Relearning, training_source
    from reid.evaluation.retrieval import Retrieval, test_samples
    from reid.evaluation.rows import CLEAN_ROW, DISTORTIONS, control_rows, file_rows, own_rows, threats_of
    from reid.evaluation.verdict import HEALTHY, Judgement, main_budget, traits_of
    from reid.loading import Images
    from reid.models.sources import open_model
    from reid.models.trial import described
    from reid.report.live import followed
    from reid.report.table import summary
    from reid.report.verdict import conclude
    from reid.runtime import device, distributed

    compute = device.set_up(device.resolve(args.device, args.precision))
    protocol = build(Protocol, vars(args))
    own = {"recipes": args.recipe, "image": args.image_attack, "equal_total": args.equal_total, "virtual": args.mte}
    given = {"warm": bool(args.warm_start), "transfer": bool(args.transfer_from), "side": args.side}
    suite = customised(args.suite, **own, **given)
    files = file_rows(args.attack, args.eps)  # these before the model and the data, so that a wrong one shows at once
    threats = threats_of([] if suite.judges else files, args.eps)
    knows_training(suite, threats, args.pgd_steps, args.seed)
    source = open_model(args.resume, args.weights)
    dataset = protocol.judged(datasets.create(args.dataset, args.data, split=args.split))
    if suite.judges and not dataset.query:
        raise UsageError(f"{dataset.name} has no query with a pid, so {args.suite} has nothing to judge by")
    distance = protocol.distance(source.distance)
    reading = {"size": (args.height, args.width), "arch": args.arch, "distance": distance}
    victim = choose_victim(source, args.preprocessing, dataset, compute, **reading)
    images = Images(*cli.image_size(args.height, args.width, victim.input.size), args.workers, args.cache)
    suite = possible(suite, victim)
    informed = knows_training(suite, threats, args.pgd_steps, args.seed)
    sets = args.data, args.split, protocol.learns_on_all
    training = training_source(args.learn_on or args.dataset, *sets) if informed else None
    retrieval = Retrieval(
        victim,
        images.stores(listed_samples(dataset) if args.rank_list else test_samples(dataset)),
        compute,
        args.batch_size,
        images.store(training.samples) if training else None,
        **protocol.rank_options(distance, args.seed),
    )
    unknown = images.store(dataset.unknown)
    lists = args.rank_list and RankLists(args.rank_list, args.topk or 10, dataset, retrieval, unknown, args.results)
    traits = traits_of(victim) if suite.attacks else HEALTHY
    experiment = Experiment(
        retrieval,
        dataset,
        victim={"path": args.resume, **described(victim), "traits": traits._asdict()},
        settings=protocol.settings(distance, images, compute),
        side=args.side,
        seed=args.seed,
        command=args.command,
        folder=args.results,
        lists=lists,
    )
    judgement = Judgement(ids_of(retrieval.query.samples)[0].numpy(), args.results, main_budget(threats), traits)
    plan = Plan(suite, threats, judgement, args.seed, args.side, args.pgd_steps)
    plan.counts = len(retrieval.query) + len(unknown), len(retrieval.gallery)
    plan.given = own_rows(args.attack, args.eps) if args.eps else files[:]  # to start from
    if suite.universal and training:
        virtual = training_source(args.mte, *sets) if args.mte else None
        effort = suite.with_effort(build(Effort, vars(args), batch_size=args.batch_size))
        folder = args.results / "attackers"
        plan.relearning = Relearning(victim, training, images, effort, compute, args.seed, folder, virtual)
    plan.surrogates = surrogates_of(args.transfer_from, retrieval, plan.relearning, args.weights)
    distributed.can_resume(f"start them again, with --reuse to keep the results in {args.results}")
    controls = control_rows(threats, args.seed, images.height, images.width) if suite.controls else []
    controls += DISTORTIONS if suite.judges else []
    rows = plan.rows(args.reuse, first=[CLEAN_ROW, *files], last=controls)
    results = experiment.run(rows, args.reuse, external=suite.judges)
    for result in followed(results, args.results, suite.judges):
        judgement.add(result)
    if judgement.measured and distributed.is_main():
        print(summary([each.result for each in judgement.measured]))
        for line in conclude(judgement, args.suite, suite):
            print(line)
        logger.info("results are in %s", args.results)
    if lists:
        known = "" if judgement.measured else "; no query has a pid to be scored by"
        logger.info("rank lists are in %s%s", args.rank_list, known)


if __name__ == "__main__":
    cli.run(main)
