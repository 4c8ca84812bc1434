"""The known families of models as tables in Markdown: how each is told, what is read, its traps.

    python -m reid.models.families

docs/bring-your-model.md shows what this prints. Families of --plugin are in the tables, too.
"""

from collections.abc import Iterable, Sequence

from reid.models.families import FAMILIES
from reid.runtime import cli

READ = ("family", "what is read", "feature that its authors evaluate", "images", "distance")
TOLD = ("family", "keys that tell it", "traps", "seen in")
REFUSED = ("key", "network")
REMEDY = "Networks that are told by one key and refused; exported to ONNX where they were trained, they are read:"


def main(argv: Sequence[str] | None = None) -> None:
    cli.OneLineParser(__doc__, argv, prog="python -m reid.models.families").parse_args(argv)
    print(tables())


def tables() -> str:
    """What is read of each family, how it is told, and what is refused."""
    from reid.models.families.refused import NAMES

    families = {name: FAMILIES[name]() for name in FAMILIES if name != "refused"}
    read = [
        (name, FAMILIES.summary(name), each.feature, each.input({}, {}).words, each.distance)
        for name, each in families.items()
    ]
    told = [(name, each.told_by, each.traps, each.seen) for name, each in families.items()]
    return "\n\n".join([_table(READ, read), _table(TOLD, told), REMEDY, _table(REFUSED, NAMES.items())])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("*", r"\*") for line in lines)  # which else would be emphasis


if __name__ == "__main__":
    cli.run(main)
