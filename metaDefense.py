"""Train a re-ID model that withstands universal attackers, by meta-learned defence or one of its baselines.

    python metaDefense.py -s market1501 -m personx --combine-trainval -a resMeta \\
        --resume pretrained_models/market.pth --attacker frozen --noise_type 0 \\
        --noise_path1 attackModel/market1501-maml/0/best_perturbation4.pth --logs_dir defenseModel/market

Starts from an undefended model; writes model_best.pth, state.pth (for --resume-from) and logs into --logs_dir, then
reports mAP, clean and attacked. What decides is the attack that is learnt anew: evaluate.py --adaptive.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reid import attacks, datasets, models
from reid.attacks import Attack, Perturbation
from reid.attacks.perturbations import TYPE_NAMES
from reid.datasets import Dataset
from reid.errors import UsageError
from reid.evaluation import distances
from reid.evaluation.protocol import Protocol, log_scores, test_samples, validation
from reid.models.checkpoint import START_OF_RES_META
from reid.models.layout import layout_of
from reid.models.network import ReidModel
from reid.runtime import cli, distributed
from reid.runtime.device import Compute, resolve
from reid.runtime.files import sha256
from reid.runtime.snapshot import Run
from reid.training import DEFENSES, INNER_ORDERS, LOSSES, Look, Recipe, Selection, Trainer, TrainingSet
from reid.training.adversaries import ATTACKERS, Attacker, Mixture, Online, PerImage, Pool, read_noises

logger = logging.getLogger("metaDefense")

# what may differ between a killed run and the one that goes on with it: files count by their contents
NOT_SETTINGS = ("resume", "resume_reid", "noise_path1", "evaluate")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__)
    known = ", ".join(datasets.names())
    parser.add_argument("-s", "--source", required=True, help=f"dataset to meta-train on: {known}")
    parser.add_argument("-m", "--mte", help="virtual dataset to meta-test on; for --defense mixed and meta")
    parser.add_argument("-a", "--arch", choices=models.names(), help="architecture to train; None: that of --resume")
    parser.add_argument("--resume", metavar="FILE", help="the undefended model to start from, trained on the source")
    parser.add_argument(
        "--resume_reid", metavar="FILE", help="a defended model to start from instead, or, with --evaluate, to measure"
    )
    parser.add_argument("--evaluate", action="store_true", help="train nothing, only report on --resume_reid")
    parser.add_argument("--defense", choices=DEFENSES, default="meta", help="see docs/defense.md")
    parser.add_argument(
        "--attacker",
        nargs="+",
        choices=ATTACKERS,
        default=["frozen"],
        help="the attacker in training, or several that share each batch",
    )
    parser.add_argument(
        "--noise_path1",
        nargs="+",
        default=[],
        metavar="FILE",
        help="attacker files: one for frozen, several for pool; others only report on them",
    )
    parser.add_argument(
        "--noise_type",
        type=int,
        choices=TYPE_NAMES,
        default=0,
        help=f"of frozen and online: {TYPE_NAMES}".replace("{", "").replace("}", ""),
    )
    parser.add_argument(
        "--max-eps", type=cli.grey_levels, default=8.0, help="largest L-inf budget per component, in 1/255"
    )
    parser.add_argument("--pgd-steps", type=cli.positive_int, default=4, help="steps of --attacker pgd")
    parser.add_argument(
        "--inner-order", choices=INNER_ORDERS, default="second", help="derivative through the inner step"
    )
    parser.add_argument("--inner-lr", type=cli.positive_float, help="rate of the inner step; None: that of the outer")
    parser.add_argument("--loss", choices=LOSSES, default="triplet+ce", help="triplet alone is the released one")
    parser.add_argument(
        "--logs_dir", type=Path, help="folder for the model, the state and the logs; None: below defenseModel/"
    )
    parser.add_argument("--lr", type=cli.positive_float, default=2e-4, help="learning rate; new layers: 3 times that")
    parser.add_argument(
        "--start_save", type=cli.natural_int, default=0, help="keep no epoch before this one as the best"
    )
    parser.add_argument("--dist_metric", choices=distances.BY_NAME, default="euclidean", help="distance of the scores")
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
    if args.defense in ("mixed", "meta") and args.mte is None and not args.evaluate:
        raise UsageError(f"--defense {args.defense} needs a virtual dataset: give -m, for example -m personx")
    if args.evaluate and "online" in args.attacker:
        raise UsageError("an online attacker lives in training only: give --evaluate files, with --attacker pool")
    files = len(args.noise_path1)
    needless = args.evaluate or args.defense == "none"
    if "frozen" in args.attacker and (files > 1 or not (files or needless)):
        raise UsageError(f"--attacker frozen needs one file as --noise_path1, not {files}; see also pool")
    if "pool" in args.attacker and not files:
        raise UsageError("--attacker pool needs files: give --noise_path1")
    if args.logs_dir is None:
        name = "-".join([args.source, args.defense, *args.attacker])
        args.logs_dir = Path("defenseModel") / name / str(args.noise_type)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    compute = resolve(args.device, args.precision)
    dataset = datasets.create(args.source, args.data, split=args.split)
    source = TrainingSet.of(dataset, args, 2 * args.seed)
    model = starting_model(args, source.num_classes).to(compute.device)
    noise_type = args.noise_type if "frozen" in args.attacker else None
    noises = [noise.to(compute.device) for noise in read_noises(args.noise_path1, args.max_eps / 255, noise_type)]
    attacker = attacker_of(args, model, noises, compute)
    if not args.evaluate:
        path = train(args, model, dataset, source, attacker, compute)
        distributed.from_main(lambda: models.load_checkpoint(model, path))
        distributed.same_(model)
        logger.info("the defended model is %s", path)
    if dataset.query:
        found: dict[str, Attack] = dict(zip(args.noise_path1, noises, strict=True))
        for attack in attacker.attacks() if attacker else []:
            if attack not in noises:
                found["PGD" if attack.noise_type is None else "online"] = attack
        protocol = Protocol.of(model.eval().features, test_samples(dataset), args, compute.exact(), **scoring(args))
        log_scores(dataset.name, protocol, found)


def starting_model(args: argparse.Namespace, num_classes: int) -> ReidModel:
    """The model of --resume_reid, else of --resume; its head is new where it was made for other identities."""
    path = args.resume_reid or args.resume
    found = layout_of(models.read_checkpoint(path), path).arch
    arch = args.arch or found
    if arch != found and (found, arch) != START_OF_RES_META:
        raise UsageError(f"{path} is a {found}, not a {arch}; use -a {found}, or leave -a out")
    model = models.create(arch, num_classes, seed=args.seed)
    models.load_checkpoint(model, path)
    model.recompute_activations = args.checkpointing
    return model


def attacker_of(
    args: argparse.Namespace, model: ReidModel, noises: Sequence[Perturbation], compute: Compute
) -> Attacker | None:
    """The attacker of the options. --defense none has none: the files, if any, only help to choose its best epoch."""
    if args.defense == "none":
        return Pool(noises) if noises else None
    eps = args.max_eps / 255
    members: list[Attacker] = []
    for place, name in enumerate(args.attacker):
        if name == "online":
            noise = attacks.create(args.noise_type, eps, eps, args.height, args.width).to(compute.device)
            members.append(Online(noise, args.seed * len(args.attacker) + place))
        elif name == "pgd":
            members.append(PerImage(model, eps, args.pgd_steps))
        else:
            members.append(Pool(noises))
    return members[0] if len(members) == 1 else Mixture(members)


def train(
    args: argparse.Namespace,
    model: ReidModel,
    dataset: Dataset,
    source: TrainingSet,
    attacker: Attacker | None,
    compute: Compute,
) -> Path:
    """Train `model` in place; returns the path of its best epoch."""
    virtual = None
    if args.defense in ("mixed", "meta"):
        virtual = TrainingSet.of(datasets.create(args.mte, args.data, split=args.split), args, 2 * args.seed + 1)
    iterations = args.iters_per_epoch or max(1, len(source.samples) // args.batch_size)
    recipe = Recipe(
        args.epochs, iterations, args.lr, args.weight_decay, args.margin, schedule="late", new_layers=3, loss=args.loss
    )
    settings = cli.settings(args, ignore=NOT_SETTINGS) | {
        "precision": compute.precision,
        "start_sha256": sha256(args.resume_reid or args.resume),
        "attackers_sha256": ", ".join(map(sha256, args.noise_path1)),
    }
    trainer = Trainer(
        model,
        source,
        recipe,
        compute,
        args.seed,
        virtual=virtual,
        attacker=None if args.defense == "none" else attacker,
        look=Look(args.inner_order, args.inner_lr) if args.defense == "meta" else None,
    )
    validate = None
    if not args.combine_trainval:
        named = attacker.attacks if attacker else tuple
        validate = validation(model, dataset, args, compute.exact(), named, **scoring(args))
    return trainer.train(
        Run(args.logs_dir, args.resume_from, settings),
        Selection(validate, args.eval_every, args.start_save),
        {"trained_on": dataset.name, "height": args.height, "width": args.width, "settings": settings},
    )


def scoring(args: argparse.Namespace) -> dict[str, Any]:
    """How scores are computed, for selection as for the report."""
    return {"batch_size": args.batch_size, "distances": distances.BY_NAME[args.dist_metric]}


if __name__ == "__main__":
    cli.run(main)
