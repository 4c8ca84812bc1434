"""Train a re-ID model that withstands universal perturbations, by meta-learned defence or one of its baselines.

    python metaDefense.py -s market1501 -m personx --combine-trainval -a resMeta \\
        --resume pretrained_models/market.pth --attacker frozen --noise_type 0 \\
        --noise_path1 attackModel/market1501-maml/0/best_perturbation4.pth --logs_dir defenseModel/market

Starts from an undefended model; writes model_best.pth, state.pth (for --resume-from) and logs into --logs_dir, then
reports mAP, clean and attacked. What decides is the attack that is learnt on the defended model itself:
evaluate.py --adaptive.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from reid import datasets
from reid.datasets import Dataset
from reid.defenses import DEFENSES
from reid.errors import UsageError
from reid.runtime import cli, options
from reid.runtime.budgets import format_budget
from reid.training import LOSSES
from reid.training.adversaries import AdversaryOptions

logger = logging.getLogger("metaDefense")

# what may differ between a killed run and the one that goes on with it: files count by their contents
NOT_SETTINGS = ("resume", "resume_reid", "noise_path1", "evaluate")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.OneLineParser(__doc__, argv)
    add = parser.add_argument
    add("-s", "--source", required=True, help="dataset to meta-train on: " + ", ".join(datasets.names()))
    add("-m", "--mte", help="virtual dataset to meta-test on, for defences that need one")
    add("-a", "--arch", help="architecture to train: that of the model to start from, or resMeta for a resnet50")
    add("--resume", metavar="FILE", help="the undefended model to start from, trained on the source")
    add("--resume_reid", metavar="FILE", help="a defended model to start from instead, or to measure by --evaluate")
    add("--evaluate", action="store_true", help="train nothing, only report on --resume_reid")
    summaries = "; ".join(f"{name}: {DEFENSES.summary(name)}" for name in DEFENSES)
    add("--defense", choices=DEFENSES, default="meta", help=f"what to train on. {summaries}")
    add("--loss", choices=LOSSES, default="triplet+ce", help="triplet alone is the released one")
    add("--logs_dir", type=Path, help="folder for the model, the state and the logs (default: below defenseModel/)")
    add("--lr", type=cli.positive_float, default=2e-4, help="learning rate; new layers: 3 times that")
    add("--start_save", type=cli.natural_int, default=0, help="keep no epoch before this one as the best")
    add("--dist_metric", choices=("euclidean", "cosine"), default="euclidean", help="distance of the scores")
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
    if args.evaluate and "online" in args.attacker:
        raise UsageError("an online attacker lives in training only: give --evaluate files, with --attacker pool")
    if DEFENSES[args.defense].needs_virtual and args.mte is None and not args.evaluate:
        raise UsageError(f"--defense {args.defense} needs a virtual dataset: give -m, for example -m personx")
    if args.logs_dir is None:
        name = "-".join([args.source, args.defense, *args.attacker])
        args.logs_dir = Path("defenseModel") / name / str(args.noise_type)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    defense = options.build(DEFENSES[args.defense], vars(args))
    chosen = options.build(AdversaryOptions, vars(args))
    if args.evaluate:
        chosen = chosen.without_files()  # which are reported on anyway
    elif defense.needs_adversary:
        chosen.require_files()

    from reid.evaluation.retrieval import Retrieval, log_scores, test_samples, validation

    from reid import models
    from reid.evaluation import distances
    from reid.loading import Images
    from reid.models.load import trained_size
    from reid.runtime import device, distributed
    from reid.runtime.snapshot import Run
    from reid.training.adversaries.pool import Pool
    from reid.training.batches import TrainingSet
    from reid.training.losses import ReidLoss
    from reid.training.schedule import Schedule
    from reid.training.start import starting_model
    from reid.training.trainer import Selection, Trainer

    start = args.resume_reid or args.resume
    compute = device.set_up(device.resolve(args.device, args.precision))
    args.height, args.width = size = cli.image_size(args.height, args.width, trained_size(start))
    images = Images(*size, args.workers, args.cache)
    scoring = {"batch_size": args.batch_size, "distances": distances.BY_NAME[args.dist_metric]}

    def load(name: str) -> Dataset:
        return datasets.create(name, args.data, split=args.split)

    def training_set(dataset: Dataset, seed: int) -> TrainingSet:
        samples = dataset.trainval if args.combine_trainval else dataset.train
        shape = {"batch_size": args.batch_size, "num_instances": args.num_instances}
        return TrainingSet(dataset.name, samples, images, **shape, seed=seed, labelled=defense.needs_labels)

    dataset = load(args.source)
    source = None if args.evaluate else training_set(dataset, 2 * args.seed)
    identities = source.num_classes if source and defense.needs_labels else None
    model = starting_model(start, identities, args.arch, args.seed).to(compute.device)
    model.checkpointing = args.checkpointing
    perturbations = chosen.perturbations(compute.device)
    adversary = Pool(perturbations)  # without need of one, the files only help to choose the best epoch
    if args.evaluate or defense.needs_adversary:
        adversary = chosen.adversary(model, perturbations, size, compute.device, args.seed)
    if source:
        virtual = load(args.mte) if defense.needs_virtual else None
        settings = run_settings(args, dataset, virtual) | {"precision": compute.precision}
        iterations = args.iters_per_epoch or max(1, len(source.samples) // args.batch_size)
        trainer = Trainer(
            model,
            defense,
            source,
            Schedule(args.epochs, iterations, args.lr, args.weight_decay, shape="late", new_layers=3),
            ReidLoss(args.loss, args.margin),
            compute,
            args.seed,
            virtual=training_set(virtual, 2 * args.seed + 1) if virtual else None,
            adversary=adversary,
        )
        validate = None
        if not args.combine_trainval:
            validate = validation(model, dataset, images, compute.exact(), adversary.attacks, **scoring)
        path = trainer.train(
            Run(args.logs_dir, args.resume_from, settings),
            Selection(validate, args.eval_every, args.start_save),
            {"trained_on": dataset.name, "height": args.height, "width": args.width, "settings": settings},
        )
        distributed.from_main(lambda: models.load_checkpoint(model, path))
        distributed.same_(model)
        logger.info("the defended model is %s", path)
    if dataset.query:
        attacks = dict(zip(args.noise_path1, perturbations, strict=True))
        for attack in adversary.attacks():
            if attack not in perturbations:
                attacks["PGD" if attack.noise_type is None else "online"] = attack
        retrieval = Retrieval(models.Victim(model), images.stores(test_samples(dataset)), compute.exact(), **scoring)
        log_scores(dataset.name, retrieval, attacks)


def run_settings(args: argparse.Namespace, source: Dataset, virtual: Dataset | None) -> dict[str, str]:
    """What determines the result of the run: options, and the contents of all files."""
    from reid.datasets.contents import contents_sha256
    from reid.runtime import distributed
    from reid.runtime.files import sha256

    files = {
        "start_sha256": lambda: sha256(args.resume_reid or args.resume),
        "attackers_sha256": lambda: ", ".join(map(sha256, args.noise_path1)),
        "source_sha256": lambda: contents_sha256(source.trainval, args.workers),
        "virtual_sha256": lambda: contents_sha256(virtual.trainval, args.workers) if virtual else "",
    }
    words = cli.settings(vars(args) | {"max_eps": format_budget(args.max_eps)}, ignore=NOT_SETTINGS)
    return words | distributed.from_main(lambda: {name: digest() for name, digest in files.items()})


if __name__ == "__main__":
    cli.run(main)
