"""The known families of models as tables in Markdown: how each is told, what is read, its traps.

    python -m reid.models.families

docs/bring-your-model.md shows what this prints. Families of --plugin are in the tables, too.
"""

from collections.abc import Sequence

from reid.models.families import FAMILIES, readable
from reid.runtime import cli
from reid.runtime.markdown import markdown

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

    families = {name: FAMILIES[name]() for name in readable()}
    read = [
        (name, FAMILIES.summary(name), each.feature, each.input({}, {}).words, each.distance)
        for name, each in families.items()
    ]
    told = [(name, each.told_by, each.traps, each.seen) for name, each in families.items()]
    lines = [READ, *read], [TOLD, *told], [REFUSED, *NAMES.items()]
    first, second, last = (markdown(each).replace("*", r"\*") for each in lines)  # which else would be emphasis
    return "\n\n".join([first, second, REMEDY, last])


if __name__ == "__main__":
    cli.run(main)
