"""List the models that are known by name, with what is known of each, and whether their files are there.

    python -m reid.models.zoo --weights pretrained_models

Wherever a command takes a SPEC, zoo:NAME is such a model. docs/zoo.md says what an entry is.
"""

from collections.abc import Sequence

from reid.runtime import cli


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m reid.models.zoo")
    cli.add_weights_option(parser.add_argument)
    args = parser.parse_args(argv)
    from reid.models.zoo.entries import described, list_zoo

    print("\n\n".join("\n".join(described(entry, args.weights)) for entry in list_zoo()))


if __name__ == "__main__":
    cli.run(main)
