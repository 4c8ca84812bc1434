"""The tables of the defence study: a line for each row, a column for clean images and for each kind of attacker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import mean, stdev

from reid.runtime.markdown import markdown
from studies.defense_results import COLUMNS, GOALS, OTHERS, VALIDATION, Difference, Record, Study

MISSING = "missing"


def over_seeds(
    study: Study, rows: Iterable[str], name: str, seeds: Collection[int], value: Callable[[Record, str], float]
) -> str:
    """Mean and spread of a value, and of how many seeds."""
    lines = {}
    for row in rows:
        records = study.of(row, name, seeds)
        lines[row] = [*_spreads([*records.values()], value), str(len(records) or MISSING)]
    return _table(lines, "seeds")


def on_validation(study: Study, rows: Iterable[str]) -> str:
    """What rows are chosen by, and what that is made of."""
    lines = {}
    for row in rows:
        score, records = study.score(row), study.of(row, VALIDATION)
        cells = _spreads([*records.values()], Record.worst)
        lines[row] = [*cells, MISSING if score is None else f"{100 * score:.1f}"]
    return _table(lines, "score")


def differences(study: Study, row: str, others: Iterable[str]) -> str:
    """A row minus others, paired; in bold what is more than chance."""
    found = {f"{row} minus {other}": [study.difference(row, other, key) for key in COLUMNS] for other in others}
    return _table({name: map(_difference, each) for name, each in found.items()})


def judgements(lines: Mapping[str, Record | None]) -> str:
    """One judgement a line: the verdict with its interval, and what the strongest attack leaves alone."""
    return _table({name: map(_judged(record), COLUMNS) for name, record in lines.items()})


def flags(study: Study) -> str:
    """What was raised, and in how many judgements of the row."""
    judged: Counter[tuple[str, str]] = Counter()
    raised: Counter[tuple[str, str, str]] = Counter()
    for (subject, row, name), record in study.records.items():
        on = f"{name}, {subject}" if subject == OTHERS else name
        judged[row, on] += 1
        raised.update((flag, row, on) for flag in record.flags)
    lines = [[flag, row, on, f"{raised[flag, row, on]} of {judged[row, on]}"] for flag, row, on in sorted(raised)]
    return markdown([["flag", "row", "judged on", "raised in"], *lines])


def training(study: Study) -> str:
    """The options that each row was trained with, all where they changed between judgements."""
    options: dict[str, dict[str, None]] = {}
    for (_, row, _), record in study.records.items():
        if record.content["trained"]:
            options.setdefault(row, {})[f"`{record.content['trained']}`"] = None
    return markdown([["row", "options"], *([row, "; ".join(told)] for row, told in sorted(options.items()))])


def _table(lines: Mapping[str, Iterable[str]], *more: str) -> str:
    return markdown([["", *COLUMNS.values(), *more], *([name, *cells] for name, cells in lines.items())])


def _spreads(records: Sequence[Record], value: Callable[[Record, str], float]) -> list[str]:
    return [_spread([100 * value(record, column) for record in records]) for column in COLUMNS]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return MISSING
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _difference(found: Difference | None) -> str:
    if found is None:
        return MISSING
    low, high = found.interval
    text = f"{100 * found.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"**{text}**" if found.sign else text


def _judged(record: Record | None) -> Callable[[str], str]:
    def cell(column: str) -> str:
        if record is None:
            return MISSING
        low, high = record.interval(column)
        alone = f", alone {100 * record.alone(column):.1f}" if column in GOALS else ""
        return f"{100 * record.worst(column):.1f} [{100 * low:.1f}, {100 * high:.1f}]{alone}"

    return cell
