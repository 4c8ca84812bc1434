"""Learn one universal perturbation for all images against a re-ID model, by virtual-guided meta-learning.

    python metaAttack.py -s market1501 -t dukemtmc -m personx --combine-trainval \\
        --resume pretrained_models/market.pth --resumeTgt pretrained_models/duke.pth --noise_type 0

Meta-trains on the source, meta-tests on the virtual set; then reports mAP, clean and attacked, on the source and, with
-t and --resumeTgt, on the target. Writes best_perturbation{epoch}.pth into --noise_resume after every epoch.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reid import attacks, datasets, models
from reid.attacks import Perturbation, learn, meta
from reid.attacks.perturbations import TYPE_NAMES
from reid.datasets import Dataset
from reid.errors import UsageError
from reid.evaluation.protocol import Protocol, log_scores, test_samples
from reid.evaluation.results import versions
from reid.loading import ImageStore, PKSampler
from reid.models import Victim
from reid.runtime import cli
from reid.runtime.device import Compute, resolve
from reid.runtime.files import sha256
from reid.runtime.snapshot import Run

logger = logging.getLogger("metaAttack")

# what may differ between a killed run and the one that goes on with it: files count by their contents
NOT_SETTINGS = ("resume", "target", "resumeTgt", "noise_resume", "print_freq")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__)
    known = ", ".join(datasets.names())
    parser.add_argument("-s", "--source", required=True, help=f"dataset to meta-train on: {known}")
    parser.add_argument("-t", "--target", help="another dataset to report on, with the model of --resumeTgt")
    parser.add_argument("-m", "--mte", help="virtual dataset to meta-test on; --meta none can do without")
    parser.add_argument("-a", "--arch", choices=models.names(), help="architecture of --resume; None: as its keys say")
    parser.add_argument("--resume", required=True, metavar="FILE", help="the model under attack, trained on the source")
    parser.add_argument("--resumeTgt", metavar="FILE", help="a model trained on the target, to report transfer")
    parser.add_argument("--noise_type", type=int, choices=TYPE_NAMES, default=0, help=f"{TYPE_NAMES}".strip("{}"))
    parser.add_argument("--lp", type=cli.grey_levels, default=8.0, help="L-inf budget per component, in 1/255")
    parser.add_argument("--meta", choices=meta.MODES, default="maml", help="see docs/attacks.md")
    parser.add_argument("--noise_resume", type=Path, help="folder for the perturbations; None: under attackModel/")
    parser.add_argument("--logs_dir", type=Path, help="folder for the state and the logs; None: that of --noise_resume")
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images per batch and set, P x K")
    parser.add_argument("--num-instances", type=cli.positive_int, default=8, help="K: images per identity in a batch")
    parser.add_argument("--epoch", type=cli.positive_int, default=5, help="epochs")
    parser.add_argument(
        "--iters-per-epoch", type=cli.positive_int, help="steps per epoch; None: all source identities once"
    )
    parser.add_argument("--combine-trainval", action="store_true", help="use the validation identities too")
    parser.add_argument(
        "--print_freq", type=cli.positive_int, default=10, help="steps between updates of the shown loss"
    )
    cli.add_data_options(parser)
    cli.add_seed_option(parser)
    cli.add_compute_options(parser, precision="auto")
    cli.add_resume_option(parser)
    args = parser.parse_args(argv)
    if (args.target is None) != (args.resumeTgt is None):
        raise UsageError(
            "-t and --resumeTgt go together: the target dataset and a model trained on it; give both or none"
        )
    if args.mte is None and args.meta != "none":
        raise UsageError(f"--meta {args.meta} needs a virtual dataset: give -m, for example -m personx")
    if args.noise_resume is None:
        args.noise_resume = Path("attackModel") / f"{args.source}-{args.meta}" / str(args.noise_type)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    compute = resolve(args.device, args.precision)
    size = (args.height, args.width)
    victim = models.load_victim(args.resume, arch=args.arch, size=size).to(compute.device)
    source = datasets.create(args.source, args.data, split=args.split)
    reported = [(source, victim)] if source.query else []
    if args.target:
        target = datasets.create(args.target, args.data, split=args.split)
        test_samples(target)
        reported.append((target, models.load_victim(args.resumeTgt, size=size).to(compute.device)))
    eps = args.lp / 255
    noise = attacks.create(args.noise_type, eps, eps, args.height, args.width).to(compute.device)
    plan, meta_train, meta_test = batches(args, source, victim, compute)
    settings = cli.settings(args, ignore=NOT_SETTINGS)
    settings |= {"precision": compute.precision, "victim_sha256": sha256(args.resume)}
    path = learn.learn(
        learn.Learner(noise, victim, meta_train, meta_test, plan, compute, args.print_freq),
        args.noise_resume,
        Run(args.logs_dir or args.noise_resume, args.resume_from, settings),
        provenance=settings | versions(),
    )
    del meta_train, meta_test  # their images and features make room for those of the report
    for dataset, attacked in reported:
        report(dataset, attacked, noise, args, compute)
    logger.info("the perturbation is %s", path)


def batches(
    args: argparse.Namespace, source: Dataset, victim: Victim, compute: Compute
) -> tuple[learn.Plan, learn.CleanBatches, learn.CleanBatches | None]:
    """The plan, and the meta-train and meta-test batches (None without a virtual set)."""
    sets = [source]
    if args.mte:
        sets.append(datasets.create(args.mte, args.data, split=args.split))
    samples = [dataset.trainval if args.combine_trainval else dataset.train for dataset in sets]
    samplers = [
        PKSampler([s.pid for s in part], args.batch_size, args.num_instances, 2 * args.seed + i, dataset.name)
        for i, (dataset, part) in enumerate(zip(sets, samples, strict=True))
    ]
    plan = learn.Plan(args.meta, args.epoch, args.iters_per_epoch or samplers[0].batches_per_deck)
    made = [
        learn.CleanBatches(
            dataset.name,
            ImageStore(part, args.height, args.width, args.workers, args.cache),
            sampler,
            victim,
            plan,
            compute,
        )
        for dataset, part, sampler in zip(sets, samples, samplers, strict=True)
    ]
    return plan, made[0], made[1] if args.mte else None


def report(dataset: Dataset, victim: Victim, noise: Perturbation, args: argparse.Namespace, compute: Compute) -> None:
    """Log mAP and rank-1, clean and attacked, on the queries and gallery of a dataset, measured in fp32."""
    protocol = Protocol.of(victim, test_samples(dataset), args, compute.exact(), batch_size=args.batch_size)
    log_scores(dataset.name, protocol, {"attacked": noise})


if __name__ == "__main__":
    cli.run(main)
