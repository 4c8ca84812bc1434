"""Leaderboards as HTML, Markdown, LaTeX and CSV. Whatever comes from files is shown as text, whatever it holds."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reid.evaluation.goals import GOALS
from reid.leaderboard.boards import Board, Row
from reid.leaderboard.entries import Entry, text
from reid.runtime.files import write_atomically

NAME = "leaderboard"
TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", "-": "-{}", "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip  # a row that begins with [ or * would be read as an option of the line before
TEX_MARKS: dict[str, Any] = {
    "block_start_string": "<%", "block_end_string": "%>", "variable_start_string": "<<", "variable_end_string": ">>",
    "comment_start_string": "<#", "comment_end_string": "#>",
}  # fmt: skip
CSV_HEAD = (
    "table", "dataset", "contents", "queries", "gallery", "eps", "protocol", "model", "arch", "sha256", "reading",
    "clean_mAP", "chance_mAP", "goal", "mAP", "attack", "budget", "queries_attacked", "source", "authors", "link",
    "unreliable",
)  # fmt: skip


def write(boards: Sequence[Board], notes: Sequence[str], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write tables and notes into `folder` in these formats, each file whole or not at all; the files.

    CSV has a file for each table; those of tables that are gone are removed.
    """
    contents = {f"{NAME}.{kind}": _rendered(kind, boards, notes) for kind in formats if kind != "csv"}
    if "csv" in formats:
        contents |= {f"{NAME}-{board.code}.csv": csv_of(board) for board in boards}
        for path in folder.glob(f"{NAME}-*.csv"):
            if re.fullmatch(rf"{NAME}-[0-9a-f]{{8}}\.csv", path.name) and path.name not in contents:
                path.unlink()
    return [_write(folder / name, content) for name, content in contents.items()]


def csv_of(board: Board) -> str:
    """A table, one line for each model and goal; mAP are fractions."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(CSV_HEAD)
    lines.writerows(_csv_lines(board))
    return file.getvalue()


def markdown_text(value: object) -> str:
    """A value as text in Markdown, in cells of tables too: no mark-up, no HTML, no link."""
    marked = re.sub(r"([\\`*_{}\[\]<>#|~&$!@])", r"\\\1", text(value))
    return re.sub(r":(?=//)", r"\\:", re.sub(r"(?i)(www)\.", r"\1\\.", marked))


def tex_text(value: object) -> str:
    """A value as text in LaTeX."""
    return "".join(TEX.get(char, char) for char in text(value))


def csv_text(value: object) -> str:
    """A value as text in CSV, also in a spreadsheet, which would compute what begins like a formula."""
    shown = text(value)
    return f"'{shown}" if re.match(r"\s*[=+\-@＝＋－＠]", shown) else shown


def _rendered(kind: str, boards: Sequence[Board], notes: Sequence[str]) -> str:
    escapes: dict[str, Callable[[object], str]] = {"html": text, "md": markdown_text, "tex": tex_text}
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=kind == "html",
        finalize=escapes[kind],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **(TEX_MARKS if kind == "tex" else {}),
    )
    environment.filters |= {"percent": lambda fraction: f"{100 * fraction:.1f}", "sha": _sha}
    template = environment.get_template(f"{NAME}.{kind}")
    return template.render(boards=boards, notes=notes, goals=GOALS, source=source, some=some)


def source(entry: Entry) -> str:
    """Whose attack it is."""
    return "external" if entry.external else "house suite"


def some(entry: Entry, row: Row) -> str:
    """On how many of the queries an attack was tried, where not on all."""
    tried, whole = entry.images.num_query, row.clean.images.num_query
    return "" if tried == whole else f"{tried} of {whole} queries"


def _sha(model: str) -> str:
    """The beginning of a hash; a model without one goes by its path, which is not shown."""
    return model[:12] if re.fullmatch(r"[0-9a-f]{64}", model) else "no hash"


def _csv_lines(board: Board) -> Iterator[list[Any]]:
    images = board.key.images
    table = [board.code, csv_text(images.dataset), csv_text(images.contents), images.num_query, images.num_gallery]
    table += [board.budget, csv_text("; ".join(f"{name}: {value}" for name, value in board.protocol.items()))]
    for row in board.rows:
        subject = row.clean.subject
        model = [*map(csv_text, (row.clean.model, row.clean.arch, _sha(subject.model), subject.reading))]
        for goal, entry in row.attacks.items():
            attack = [goal, entry.mAP, csv_text(entry.attack), csv_text(entry.budget), entry.images.num_query]
            whose = [source(entry), csv_text(entry.authors), csv_text(entry.link)]
            yield [*table, *model, row.clean.mAP, row.clean.chance, *attack, *whose, csv_text("; ".join(row.reasons))]


def _write(path: Path, content: str) -> Path:
    return write_atomically(path, lambda temporary: temporary.write_bytes(content.encode()))
