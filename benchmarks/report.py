"""What the benchmarks found, as Markdown: benchmarks/RESULTS.md and the performance section of README.md.

    python -m benchmarks.report             # write both from benchmarks/results.jsonl and benchmarks/notes.toml
    python -m benchmarks.report --check     # write nothing; exit code 1 if they are not what would be written

The numbers come from results.jsonl alone (python -m benchmarks.run writes it). notes.toml holds the words: the floor of
each subject, what is asked of it, and why an own kind, one whose name starts with "ours", is above twice its floor.
"""

import json
import logging
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reid.errors import ReidError
from reid.runtime import cli
from reid.runtime.files import write_atomically

logger = logging.getLogger("benchmarks")

HERE = Path(__file__).parent
RESULTS, NOTES, PAGE = HERE / "results.jsonl", HERE / "notes.toml", HERE / "RESULTS.md"
README = HERE.parent / "README.md"
BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"
COLUMNS = {"seconds": "seconds", "speedup": "speed-up", "peak_MB": "peak MB", "to_floor": "x floor"}
MACHINE = {
    "machine": "{}",
    "threads": "{} threads",
    "gflops": "{} Gflop/s",
    "gbytes": "{} GB/s",
    "torch": "torch {}",
    "python": "Python {}",
}
NOT_FACTS = ("benchmark", "command", "kind", "baseline", "floor_seconds", "timed", *COLUMNS, *MACHINE)
OWN, HIGH = "ours", 2.0
REQUIREMENT = re.compile(r"(\w+) (<=|>=) ([\d.]+)(?: of (.+))?")

Line = Mapping[str, Any]
Notes = Mapping[str, Mapping[str, Any]]


def read() -> list[dict[str, Any]]:
    """The lines of results.jsonl, in its order; none if there is no such file. Raises ReidError for other text."""
    if not RESULTS.exists():
        return []
    try:
        return [json.loads(line) for line in RESULTS.read_text().splitlines()]
    except ValueError as error:
        raise ReidError(f"{RESULTS} is not JSON lines ({error}); run python -m benchmarks.run again") from error


def grouped(lines: Iterable[Line], field: str) -> dict[str, list[Line]]:
    """The lines by one field, groups and lines in the order of their appearance."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line[field], []).append(line)
    return groups


def table(lines: Sequence[Line]) -> str:
    """The kinds of one command in Markdown: the usual columns that any of them has, then what differs between them."""
    columns = [c for c in COLUMNS if any(c in line for line in lines)]
    facts = [fact for fact in _facts(lines) if fact not in _common(lines)]
    rows = [[line["kind"], *(_cell(line.get(c)) for c in (*columns, *facts))] for line in lines]
    return _aligned([["kind", *(COLUMNS[c] for c in columns), *facts], *rows])


def page(lines: Sequence[Line], notes: Notes) -> str:
    """All of benchmarks/RESULTS.md."""
    parts = ["# Measurements", notes["page"]["text"].strip()]
    for subject, own in grouped(lines, "benchmark").items():
        note = notes.get(subject, {})
        parts += [f"## {_title(subject, notes)}", note.get("text", "").strip()]
        parts += [f"Floor: {note['floor']}"] if "floor" in note else []
        for command, kinds in grouped(own, "command").items():
            parts += [f"`{command}`: {_conditions(kinds)}.", table(kinds)]
            parts += ["\n".join(f"- {line['kind']}: {asked}" for line, asked in _best(kinds, note) if asked)]
    parts += ["## Still above twice its floor", _above(lines, notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(lines: Sequence[Line], notes: Notes) -> str:
    """README.md's performance section, markers included: of each subject what is asked of it, or its first command."""
    rows = [["", "kind", *COLUMNS.values(), "asked"]]
    for subject, own in grouped(lines, "benchmark").items():
        best = [found for kinds in grouped(own, "command").values() for found in _best(kinds, notes.get(subject, {}))]
        for line, asked in [found for found in best if found[1]] or best[:1]:
            rows.append(
                [_title(subject, notes) + _options(line), line["kind"], *(_cell(line.get(c)) for c in COLUMNS), asked]
            )
    return "\n\n".join([BEGIN, "## Performance", notes["readme"]["text"].strip(), _aligned(rows), END])


def with_section(readme: str, new: str) -> str:
    """The README with its performance section replaced. Raises ReidError when the markers are not there."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ReidError(f"{README} lacks the lines {BEGIN} and {END}; put them where the section belongs")
    return before + new + after


def verdict(requirement: str, line: Line, kinds: Iterable[Line]) -> str:
    """Whether a line does what is asked: "FIELD <= NUMBER", or ">=", or "FIELD <= NUMBER of KIND" of the same command.

    Raises ReidError for any other requirement.
    """
    match = REQUIREMENT.fullmatch(requirement)
    if match is None:
        raise ReidError(f"{NOTES}: {requirement!r} is not FIELD <= NUMBER [of KIND]; mend it")
    field, relation, number, of = match.groups()
    others = (other for other in kinds if of is not None and other["kind"] == of)
    unit = 1.0 if of is None else next(others, {}).get(field)
    if unit is None or line.get(field) is None:
        return f"{requirement}: not measured"
    share = line[field] / unit
    met = share <= float(number) if relation == "<=" else share >= float(number)
    return f"{requirement}: {'yes' if met else 'no'}" + (f" ({_cell(share)})" if of or not met else "")


def _best(kinds: Sequence[Line], note: Mapping[str, Any]) -> list[tuple[Line, str]]:
    """The fastest own kind that each demand on this command is about, with the verdicts; else the fastest own one."""
    own = [line for line in kinds if line["kind"].startswith(OWN) and "seconds" in line]
    own.sort(key=lambda line: line["seconds"])
    found = []
    for demand in note.get("asked", []):
        fitting = [line for line in own if all(_fits(line, *each) for each in demand.get("match", {}).items())]
        if fitting:
            verdicts = (verdict(requirement, fitting[0], kinds) for requirement in demand["require"])
            found.append((fitting[0], "; ".join(verdicts)))
    return found or [(line, "") for line in own[:1]]


def _fits(line: Line, field: str, value: Any) -> bool:
    return line["kind"].startswith(value) if field == "kind" else line.get(field) == value


def _above(lines: Iterable[Line], notes: Notes) -> str:
    """A list of the own kinds above twice their floor, with the reason of the longest beginning of the kind's name."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line["kind"].startswith(OWN) and (line.get("to_floor") or 0) > HIGH:
            reasons = notes.get(line["benchmark"], {}).get("reasons", {})
            known = max((k for k in reasons if line["kind"].startswith(k)), key=len, default=None)
            reason = "no reason recorded" if known is None else " ".join(reasons[known].split())
            kind = f"{_title(line['benchmark'], notes)}, {line['kind']}"
            found.setdefault((kind, reason), []).append(f"{_cell(line['to_floor'])} x{_options(line)}")
    listed = (f"- {kind}, {', '.join(factors)}: {reason}" for (kind, reason), factors in found.items())
    return "\n".join(listed) or "Nothing."


def _title(subject: str, notes: Notes) -> str:
    return notes.get(subject, {}).get("title", subject)


def _options(line: Line) -> str:
    """The options of a line's command, to stand behind something else."""
    options = line["command"].partition(f"benchmarks.{line['benchmark']}")[2].strip()
    return f" `{options}`" if options else ""


def _conditions(kinds: Sequence[Line]) -> str:
    """What all kinds of a command were measured under."""
    facts = [f"{name} {_cell(value)}" for name, value in _common(kinds).items()]
    return ", ".join(facts + [form.format(_cell(kinds[0][name])) for name, form in MACHINE.items() if name in kinds[0]])


def _facts(lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line if name not in NOT_FACTS))


def _common(lines: Sequence[Line]) -> dict[str, Any]:
    """The facts that all lines share."""
    first = lines[0]
    return {f: first[f] for f in _facts(lines) if all(f in line and line[f] == first.get(f) for line in lines)}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(each)}" for name, each in value.items())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in a terminal too; the first of the rows is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    head, *body = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["-" * width for width in widths], *body])


def write(check: bool = False) -> bool:
    """Write both files; with `check` only compare. Returns whether they were already what they should be."""
    lines, notes = read(), tomllib.loads(NOTES.read_text())
    if not lines:
        raise ReidError(f"{RESULTS} has no results; run python -m benchmarks.run first")
    texts = {PAGE: page(lines, notes), README: with_section(README.read_text(), section(lines, notes))}
    stale = {path: text for path, text in texts.items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if check:
            logger.info("%s is not what python -m benchmarks.report writes", path)
        else:
            write_atomically(path, lambda file, text=text: file.write_text(text))
    return not stale


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.report")
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    args = parser.parse_args(argv)
    if not write(args.check) and args.check:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
