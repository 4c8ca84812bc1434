"""Find out how a model wants its images: clean mAP under each usual preprocessing, on images of yours or drawn people.

    python -m reid.models.detective osnet_x0_25_msmt17.onnx -d market1501

Prints a table, the best first. Give the name of a line to the other commands as --preprocessing NAME.
"""

from collections.abc import Sequence

from reid import datasets
from reid.evaluation import DISTANCES
from reid.runtime import cli


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.models.detective")
    parser.add_argument("spec", metavar="SPEC", help=f"the model: {cli.SPECS}")
    cli.add_weights_option(parser.add_argument)
    known = ", ".join(datasets.names())
    parser.add_argument("-d", "--dataset", default="synth-a", help=f"dataset to look at: {known}")
    parser.add_argument("--dist_metric", choices=DISTANCES, help="distance between features (default: the family's)")
    cli.add_data_options(parser)
    cli.add_compute_options(parser, precision="fp32")
    args = parser.parse_args(argv)
    from reid.evaluation.detective import examine, table
    from reid.models.sources import open_model
    from reid.runtime import device

    compute = device.set_up(device.resolve(args.device, args.precision))
    source = open_model(args.spec, args.weights)
    dataset = datasets.create(args.dataset, args.data, split=args.split)
    size = (args.height, args.width)
    found = examine(source, dataset, compute, size=size, distance=args.dist_metric, workers=args.workers)
    print("\n".join(table(*found)))


if __name__ == "__main__":
    cli.run(main)
