"""What the look-ahead changes: the virtual set's gradient with it, by either order, next to the one without it.

    python -m benchmarks.meta_gradient --data runs/demo/data --resume runs/demo/A/model_best.pth --height 80 --width 40

For each inner rate, one JSON line, means over batches: the virtual loss at the live weights and after the inner step,
and the norm of each virtual gradient and its cosine with the one at the live weights (dropout off).
"""

import json
from collections import defaultdict
from statistics import mean

import torch
from torch import Tensor

from reid import datasets, models
from reid.loading import Images
from reid.runtime import cli
from reid.training import ReidLoss, TrainingSet
from reid.training.batches import TrainingBatch, with_perturbed_half
from reid.training.inner import Inner
from reid.training.network import TrainedNetwork, Weights, is_backbone
from reid.training.step import step_gradients


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.meta_gradient")
    parser.add_argument("-s", "--source", default="synth-a", help="dataset to meta-train on")
    parser.add_argument("-m", "--mte", default="synth-virtual", help="virtual dataset to meta-test on")
    parser.add_argument("--resume", required=True, metavar="FILE", help="the model")
    parser.add_argument("--inner-lr", type=float, nargs="+", default=[2e-4, 1e-3, 1e-2], help="inner rates")
    parser.add_argument("--batch_size", type=cli.positive_int, default=32, help="images per batch, P x K")
    parser.add_argument("--num-instances", type=cli.positive_int, default=4, help="K")
    parser.add_argument("--batches", type=cli.positive_int, default=3, help="batches to average over")
    cli.add_data_options(parser)
    args = parser.parse_args()
    images = Images(*cli.image_size(args.height, args.width), args.workers, args.cache)
    shape = {"batch_size": args.batch_size, "num_instances": args.num_instances}
    sets = [
        TrainingSet(name, datasets.create(name, args.data).train, images, **shape, seed=i)
        for i, name in enumerate((args.source, args.mte))
    ]
    model, _ = models.load_model(args.resume)
    network = TrainedNetwork(model.train(), sets[1].num_classes)
    model.dropout.p = 0.0
    reid_loss = ReidLoss(margin=0.5)
    weights = network.weights()

    def loss_of(at: Weights, batch: TrainingBatch) -> Tensor:
        return reid_loss(*network.at(at, batch.images, batch.virtual), batch.labels)[0]

    device = torch.device("cpu")
    batches = [
        [
            with_perturbed_half(images, labels, None, torch.Generator(), bool(place))[0]
            for place, (_, images, labels) in enumerate(pair)
        ]
        for pair in zip(*(each.epoch(0, args.batches, device) for each in sets), strict=True)
    ]
    for rate in args.inner_lr:
        values = defaultdict(list)
        rates = {name: rate * (1 if is_backbone(name) else 3) for name in weights}
        for source, virtual in batches:
            alone = step_gradients(loss_of, weights, source).gradients
            found = {
                "live": step_gradients(loss_of, weights, source, virtual),
                "first": step_gradients(loss_of, weights, source, virtual, Inner(rates, 5e-4, "first")),
                "second": step_gradients(loss_of, weights, source, virtual, Inner(rates, 5e-4, "second")),
            }
            flat = {
                name: torch.cat(
                    [(g - alone.get(key, torch.zeros_like(g))).flatten().double() for key, g in step.gradients.items()]
                )
                for name, step in found.items()
            }
            values["virtual_loss_live"].append(found["live"].losses["loss_te"].item())
            values["virtual_loss_ahead"].append(found["first"].losses["loss_te"].item())
            for name, gradient in flat.items():
                values[f"norm_{name}"].append(gradient.norm().item())
                values[f"cosine_{name}"].append(torch.cosine_similarity(gradient, flat["live"], dim=0).item())
        line = {"benchmark": "meta_gradient", "inner_lr": rate} | {k: round(mean(v), 4) for k, v in values.items()}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
