"""Score an attack of others here, and add it to results, for leaderboards and for the verdicts of suites.

    python -m reid.leaderboard.add submission.json -d market1501 --resume model.pth --results results

The submission is a JSON file with its perturbed images, or its universal perturbation, in the same folder. It is
refused when the mAP that it leaves here is more than 0.1 points above what it claims, when it goes beyond its budget,
or when it was made for another model or for other images (docs/leaderboard.md).
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reid import datasets, models
from reid.evaluation.protocol import Protocol
from reid.models.readings import PREPROCESSINGS
from reid.runtime import cli
from reid.runtime.options import add_options, build

logger = logging.getLogger(__name__)
PROG = "python -m reid.leaderboard.add"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv, prog=PROG)
    add = parser.add_argument
    add("submission", type=Path, metavar="SUBMISSION", help="its JSON file")
    add("-d", "--dataset", required=True, help="dataset to rank: " + ", ".join(datasets.names()))
    add("--batch_size", type=cli.positive_int, default=64, help="images per batch")
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="folder of the results")
    add_options(parser, Protocol)
    cli.add_model_options(parser, models.names(), PREPROCESSINGS)
    cli.add_data_options(parser)
    cli.add_seed_option(parser)
    cli.add_compute_options(parser, precision="fp32")
    args = parser.parse_args(argv)
    args.command = shlex.join([PROG, *(sys.argv[1:] if argv is None else argv)])
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    from reid.datasets.contents import contents_sha256
    from reid.evaluation.detective import choose_victim
    from reid.evaluation.experiment import Experiment
    from reid.evaluation.kinds import EXTERNAL
    from reid.evaluation.retrieval import Retrieval, test_samples
    from reid.evaluation.rows import CLEAN_ROW, Row
    from reid.leaderboard.attacks import attack_of
    from reid.leaderboard.submissions import read_submission
    from reid.loading import Images
    from reid.models.sources import open_model
    from reid.models.trial import described
    from reid.report.table import summary
    from reid.runtime import device, distributed
    from reid.runtime.files import sha256

    submission = read_submission(args.submission)
    compute = device.set_up(device.resolve(args.device, args.precision))
    protocol = build(Protocol, vars(args))
    source = open_model(args.resume)
    dataset = protocol.judged(datasets.create(args.dataset, args.data, split=args.split))
    distance = protocol.distance(source.distance)
    reading = {"size": (args.height, args.width), "arch": args.arch, "distance": distance}
    victim = choose_victim(source, args.preprocessing, dataset, compute, **reading)
    samples = test_samples(dataset)
    submission.check_target(victim, dataset, contents_sha256([*samples[0], *samples[1]], args.workers))
    images = Images(*cli.image_size(args.height, args.width, victim.input.size), args.workers, args.cache)
    stores = images.stores(samples)
    retrieval = Retrieval(victim, stores, compute, args.batch_size, **protocol.rank_options(distance, args.seed))
    experiment = Experiment(
        retrieval,
        dataset,
        victim={"path": args.resume, **described(victim)},
        settings=protocol.settings(distance, images, compute),
        side=submission.threat.side,
        seed=args.seed,
        command=args.command,
        folder=args.results,
        accept=submission.check_claim,
    )
    side, told = submission.threat.side, ("authors", "link", "claimed_mAP")
    attacked = {name: store for name, store in zip(("query", "gallery"), stores, strict=True) if side in (name, "both")}
    with attack_of(submission, attacked, dataset, args.workers) as attack:
        settings = {name: getattr(submission, name) for name in told}
        row = Row(submission.name, EXTERNAL, attack, sha256(submission.file), settings, declared=submission.needs)
        (result,) = experiment.run([row], reuse=False)
    (clean,) = replace(experiment, side="query").run([CLEAN_ROW], reuse=True)  # where evaluate.py has it too
    if distributed.is_main():
        print(summary([clean, result]))
    logger.info("the result is %s", args.results / result.file_name)


if __name__ == "__main__":
    cli.run(main)
