"""Does the result of an attack depend on the precision that it was learnt in? Type 0 in fp32 and bf16, several seeds.

    python -m benchmarks.precision --demo runs/demo        # the data and victim A of the demo

Prints one JSON line per precision: clean mAP, and the mAP that the perturbation of each seed leaves, measured in fp32,
with mean and standard deviation; and how near the features of the victim stay to those of fp32 (cosine).
"""

import json
import tempfile
from pathlib import Path
from statistics import mean, stdev

import torch

import metaAttack
from benchmarks import measure
from reid import attacks, datasets, models
from reid.evaluation.retrieval import Retrieval
from reid.loading import Images
from reid.runtime import cli
from reid.runtime.device import Compute

HEIGHT, WIDTH = 80, 40


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.precision")
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), metavar="DIR", help="folder of a finished demo")
    parser.add_argument("--seeds", type=cli.natural_int, default=3, help="attacks per precision; 0: none")
    cli.add_data_options(parser)
    args = parser.parse_args()
    model = args.demo / "A" / "model_best.pth"
    dataset = datasets.create("synth-a", args.demo / "data")
    victim = models.load_victim(model)
    sides = Images(HEIGHT, WIDTH, args.workers, args.cache).stores((dataset.query, dataset.gallery))
    retrievals = {
        precision: Retrieval(victim, sides, Compute(torch.device("cpu"), precision)) for precision in ("fp32", "bf16")
    }
    exact = torch.cat(retrievals["fp32"].clean)
    for precision, retrieval in retrievals.items():
        attacked = []
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory() as folder:
                options = ["-s", "synth-a", "-m", "synth-virtual", "--resume", str(model), "--noise_type", "0"]
                options += ["--data", str(args.demo / "data"), "--height", str(HEIGHT), "--width", str(WIDTH)]
                options += ["--seed", str(seed), "--precision", precision]
                options += ["--batch_size", "32", "--num-instances", "4", "--epoch", "4", "--iters-per-epoch", "12"]
                metaAttack.main([*options, "--noise_resume", folder])
                noise = attacks.load(Path(folder) / "best_perturbation3.pth")
            attacked.append(retrievals["fp32"].score(noise).ranking.mAP)
        line = {
            "benchmark": "precision",
            "kind": precision,
            "mAP_clean": round(100 * retrieval.score().ranking.mAP, 3),
            "mAP_attacked": [round(100 * value, 2) for value in attacked],
            "mean": round(100 * mean(attacked), 2) if attacked else None,
            "std": round(100 * stdev(attacked), 2) if len(attacked) > 1 else None,
            "lowest_cosine_to_fp32": round(torch.cosine_similarity(torch.cat(retrieval.clean), exact).min().item(), 6),
            **measure.machine(2),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    cli.run(lambda _: main())
