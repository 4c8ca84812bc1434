"""List the commands, with one line each.

    python -m reid

Each of them answers --help.
"""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from reid.runtime import cli

PACKAGE = Path(__file__).parent
CHECKOUT = PACKAGE.parent


def commands() -> Iterator[tuple[str, str]]:
    """How each command is called, and the first line of its docstring. None is imported."""
    in_checkout = (CHECKOUT / "pyproject.toml").exists()
    scripts, studies = (sorted(CHECKOUT.glob(names)) if in_checkout else [] for names in ("*.py", "studies/*.py"))
    for path in (*scripts, *sorted(PACKAGE.glob("*/**/*.py")), *studies):
        text = path.read_text(encoding="utf-8")
        if '\nif __name__ == "__main__":\n' in text:
            summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
            place = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__main__")
            yield f"python {path.name}" if path.parent == CHECKOUT else f"python -m {place}", summary


def main(argv: Sequence[str] | None = None) -> None:
    cli.OneLineParser(__doc__, argv, prog="python -m reid").parse_args(argv)
    lines = list(commands())
    width = max(len(command) for command, _ in lines)
    for command, summary in lines:
        print(f"{command:<{width}}  {summary}")


if __name__ == "__main__":
    cli.run(main)
