"""mAP, mINP and CMC of a re-ID model: clean, under given attackers, and under random controls at the same budget.

    python evaluate.py -d market1501 --resume pretrained_models/market.pth \\
        --attack attackModel/market1501-maml/0/best_perturbation4.pth
    python evaluate.py -d market1501 --resume defenseModel/market/model_best.pth --adaptive \\
        --attack attackModel/market1501-maml/0/best_perturbation4.pth

--adaptive adds attacks that know this very model: perturbations of the same threat learnt on it anew, from several
starts, the worst of which counts, and PGD on each image. Without it the robustness of a defended model is not known.
Prints a table and writes one JSON file per line of it into --results (docs/results-format.md).
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from reid import attacks, datasets, models
from reid.attacks import Perturbation, Threat
from reid.attacks.files import RELEASED_BUDGET
from reid.attacks.image_pgd import FeaturePGD
from reid.attacks.threat import SIDES
from reid.datasets import Dataset
from reid.errors import UsageError
from reid.evaluation import distances as distance
from reid.evaluation.adaptive import PGD, RELEARNT, Effort, Relearning
from reid.evaluation.protocol import Protocol, test_samples
from reid.evaluation.rerank import k_reciprocal
from reid.evaluation.results import Result
from reid.evaluation.suite import CLEAN, Attacker, Suite, control_attackers
from reid.models import Victim
from reid.report.table import table
from reid.runtime import cli, distributed
from reid.runtime.device import Compute, resolve
from reid.runtime.files import sha256

logger = logging.getLogger("evaluate")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__)
    parser.add_argument("-d", "--dataset", required=True, help="dataset to rank: " + ", ".join(datasets.names()))
    parser.add_argument("-a", "--arch", choices=models.names(), help="architecture of --resume; None: as its keys say")
    parser.add_argument("--resume", required=True, metavar="FILE", help="checkpoint of the model, released or ours")
    parser.add_argument("--attack", nargs="+", default=[], metavar="FILE", help="attacker files, released or ours")
    parser.add_argument("--side", choices=SIDES, default="query", help="whose images are perturbed")
    parser.add_argument(
        "--eps",
        type=budget,
        help="budget per component, such as 8/255; None: that of each attacker file, else 8/255",
    )
    parser.add_argument(
        "--dist_metric", choices=distance.BY_NAME, default="euclidean", help="distance between features"
    )
    parser.add_argument("--rerank", action="store_true", help="k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3)")
    parser.add_argument(
        "--cuhk03-repeats",
        type=cli.positive_int,
        metavar="N",
        help="average the cuhk03 curve over N random galleries per query; None: its exact expectation",
    )
    adaptive = parser.add_argument_group("attacks that know the model")
    adaptive.add_argument(
        "--adaptive", action="store_true", help="learn the threat of each --attack on this model anew"
    )
    adaptive.add_argument("--learn-on", metavar="NAME", help="dataset to learn on; None: the training images of -d")
    adaptive.add_argument("--restarts", type=cli.positive_int, default=3, help="starting points; the worst counts")
    adaptive.add_argument("--adaptive-epochs", type=cli.positive_int, default=10, help="epochs at most per restart")
    adaptive.add_argument("--adaptive-iters", type=cli.positive_int, help="steps per epoch; None: images / batch size")
    adaptive.add_argument("--num-instances", type=cli.positive_int, default=8, help="K: images per identity in a batch")
    adaptive.add_argument("--pgd-steps", type=cli.positive_int, default=15, help="steps of PGD on each image")
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images per batch")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="folder for the JSON files"
    )
    parser.add_argument(
        "--reuse", action="store_true", help="take results that are there already instead of measuring again"
    )
    cli.add_data_options(parser)
    cli.add_seed_option(parser)
    cli.add_compute_options(parser, precision="fp32")
    return parser.parse_args(argv)


def budget(text: str) -> float:
    try:
        return attacks.parse_budget(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if args.rerank and args.dist_metric != "euclidean":
        raise UsageError("--rerank works on Euclidean distances; leave --dist_metric out")
    compute = resolve(args.device, args.precision)
    victim = models.load_victim(args.resume, arch=args.arch, size=(args.height, args.width)).to(compute.device)
    attackers = [Attacker(CLEAN), *given_attackers(args)]
    controls = controls_for(attackers, args)
    for attacker in (*attackers, *controls):
        if isinstance(attacker.noise, Perturbation):
            attacker.noise.to(compute.device)
    dataset = datasets.create(args.dataset, args.data, split=args.split)
    distances = k_reciprocal() if args.rerank else distance.BY_NAME[args.dist_metric]
    drawn = args.cuhk03_repeats or 0
    options = {"distances": distances, "cuhk03_repeats": drawn, "cuhk03_seed": args.seed}
    protocol = Protocol.of(victim, test_samples(dataset), args, compute, batch_size=args.batch_size, **options)
    suite = Suite(
        protocol,
        dataset,
        victim={"path": str(args.resume), "arch": victim.arch, "sha256": sha256(args.resume)},
        settings={
            "features": "pooled last stage, not normalised",
            "distance": args.dist_metric,
            "rerank": args.rerank,
            "height": args.height,
            "width": args.width,
            "interpolation": "bilinear",
            "precision": compute.precision,
            "side": args.side,
            "same_camera": "dropped",
            "junk": "pid -1 dropped, pid 0 kept",
            "cuhk03": f"{drawn} random galleries per query" if drawn else "expectation",
        },
        side=args.side,
        seed=args.seed,
        command=shlex.join([Path(sys.argv[0]).name, *(sys.argv[1:] if argv is None else argv)]),
        folder=args.results,
    )
    if args.adaptive:
        attackers += adaptive_attackers(attackers, victim, suite.victim["sha256"], dataset, args, compute)
    distributed.can_resume(f"start them again, with --reuse to keep the results in {args.results}")
    found = list(suite.run([*attackers, *controls], args.reuse))
    if distributed.is_main():
        show(found, args)


def show(found: Sequence[Result], args: argparse.Namespace) -> None:
    """Print the table."""
    victim, dataset, metrics = found[0].victim, found[0].dataset, found[0].metrics
    sizes = f"{dataset['num_query']} queries, {dataset['num_gallery']} gallery images"
    print(f"{args.resume} ({victim['arch']}) on {dataset['name']}: {sizes}")
    print(f"perturbed: {args.side}; queries without a match, skipped: {metrics['num_skipped']}; all scores in %")
    print(table(found))
    if relearnt := [r.metrics["mAP"] for r in found if r.attacker["name"].startswith(RELEARNT)]:
        print(f"worst of the re-learnt attacks: mAP {100 * min(relearnt):.1f}; this counts, not a frozen attacker")
    print(f"mAP of a random ranking (chance): {100 * metrics['chance_mAP']:.1f}")
    logger.info("results are in %s", args.results)


def given_attackers(args: argparse.Namespace) -> list[Attacker]:
    """The files of --attack; their names are their last folders and file name, so that two types tell apart."""
    return [
        Attacker("/".join(Path(path).parts[-3:]), attacks.load(path, args.eps), sha256(path)) for path in args.attack
    ]


def adaptive_attackers(
    given: Sequence[Attacker],
    victim: Victim,
    victim_sha256: str,
    dataset: Dataset,
    args: argparse.Namespace,
    compute: Compute,
) -> list[Attacker]:
    """Perturbations learnt on the victim anew, for each threat of `given` (without one: type 0), and PGD per image."""
    learn_on = dataset
    if args.learn_on:
        learn_on = datasets.create(args.learn_on, args.data, split=args.split)
    if not learn_on.train:
        raise UsageError(f"{learn_on.name} has no training images for --adaptive to learn on; give another --learn-on")
    effort = Effort(
        args.restarts,
        args.adaptive_epochs,
        args.adaptive_iters or max(1, len(learn_on.train) // args.batch_size),
        args.batch_size,
        args.num_instances,
    )
    relearning = Relearning(
        victim,
        victim_sha256,
        learn_on.name,
        learn_on.train,
        args,
        effort,
        compute,
        args.seed,
        args.results / "attackers",
    )
    eps = RELEASED_BUDGET if args.eps is None else args.eps
    threats = {(a.noise.noise_type, a.noise.threat) for a in given if isinstance(a.noise, Perturbation)}
    made = [
        attacker
        for noise_type, threat in sorted(threats, key=str) or [(0, Threat(eps, eps))]
        for attacker in relearning.attackers(noise_type, threat, args.reuse)
    ]
    pgd = FeaturePGD(victim, eps, args.pgd_steps, args.seed)
    return [*made, Attacker(f"{PGD} {round(eps * 255, 4):g}, {args.pgd_steps} steps", pgd)]


def controls_for(attackers: Sequence[Attacker], args: argparse.Namespace) -> list[Attacker]:
    """Random controls at each budget that an attacker has; a component that it lacks gets the budget of the other."""
    threats = [attacker.noise.threat for attacker in attackers if attacker.noise is not None]
    budgets = {(t.eps_color or t.eps_delta, t.eps_delta or t.eps_color) for t in threats}
    if not budgets:
        eps = RELEASED_BUDGET if args.eps is None else args.eps
        budgets = {(eps, eps)}
    made = [control_attackers(Threat(*eps), args.seed, args.height, args.width) for eps in sorted(budgets)]
    return [attacker for group in made for attacker in group]


if __name__ == "__main__":
    cli.run(main)
