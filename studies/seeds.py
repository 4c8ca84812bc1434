"""Demo summaries of several seeds as one page in Markdown, disappointing numbers included.

python -m studies.seeds runs/demo/summary.json runs/demo-seed*/summary.json > docs/demo-results.md
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from reid.errors import ReidError
from reid.runtime import cli
from reid.runtime.markdown import markdown
from studies import demo
from studies.demo import DEFENDED, UNDEFENDED, VICTIMS

CONTROLS = {name: ("controls", key) for key, name in demo.CONTROLS.items()}
COLUMNS = {
    "clean": ("clean",),
    "type 0": ("attacked", "0"),
    "type 1": ("attacked", "1"),
    "type 2": ("attacked", "2"),
    **CONTROLS,
    "chance": ("chance",),
}
WITHSTOOD = {"clean": ("clean",), "frozen": ("frozen",), "re-learnt": ("relearnt",), "PGD": ("pgd",), **CONTROLS}
VERDICT = {
    "clean": ("clean",),
    "universal": ("worst", "universal"),
    "image": ("worst", "image"),
    "with the gallery": ("worst", "image_gallery"),
    "search": ("worst", "search"),
    "chance": ("chance",),
}


def page(summaries: Sequence[dict[str, Any]]) -> str:
    """The page for summaries as `studies.demo` writes them."""
    victims = [_victim(name, summaries) for name in VICTIMS]
    return "\n\n".join(["# Demo results", _introduction(summaries), *victims, _defence(summaries), _verdict(summaries)])


def _introduction(summaries: Sequence[dict[str, Any]]) -> str:
    seconds = ", ".join(f"{summary['seconds']:.0f} s (seed {summary['seed']})" for summary in summaries)
    return (
        "mAP in % of `bash runDemo.sh SEED` on people that no model saw in training. Types 0, 1 and 2 are the learnt\n"
        "perturbations (colour + delta, colour, delta; 8/255 per component, so type 0 has 16/255 in total), learnt on\n"
        "victim A alone; random both, LUT and sign spend the budgets of types 0, 1 and 2 without learning. The seed\n"
        "draws everything: people, cameras, training, attack, defence. Networks run in fp32; rounding still differs\n"
        "between processors, which changes the course of a training.\n\n"
        f"Wall time, without the page: {seconds}."
    )


def _victim(name: str, summaries: Sequence[dict[str, Any]]) -> str:
    victims = [(summary["seed"], summary["victims"][name]) for summary in summaries]
    table, average = _table(victims, COLUMNS)
    cost = {column: average["clean"] - value for column, value in average.items()}
    _, first = victims[0]
    return (
        f"## Victim {name}: {first['arch']} on {first['dataset']}\n\n{table}\n\n"
        f"On average type 0 leaves {average['type 0'] / average['clean']:.2f} of the clean mAP; it costs "
        f"{cost['type 0']:.1f} points, random sign {cost['random sign']:.1f}, random LUT {cost['random LUT']:.1f}, "
        f"random both {cost['random both']:.1f}."
    )


def _defence(summaries: Sequence[dict[str, Any]]) -> str:
    before, undefended = _table([(s["seed"], s["defended"]["undefended"]) for s in summaries], WITHSTOOD)
    after, defended = _table([(s["seed"], s["defended"]) for s in summaries], WITHSTOOD)
    change = {column: defended[column] - undefended[column] for column in WITHSTOOD}
    return (
        f"## Defence: {DEFENDED}, fine-tuned from {UNDEFENDED}\n\n"
        f"Frozen is type 0 as learnt on {UNDEFENDED}; re-learnt is type 0 learnt on that very model, the worst\n"
        "restart; PGD is another perturbation for each image. Total budgets: frozen, re-learnt and random both\n"
        "16/255, PGD and the others 8/255.\n\n"
        f"Undefended ({UNDEFENDED}):\n\n{before}\n\nDefended ({DEFENDED}):\n\n{after}\n\n"
        f"On average the defence changes mAP by {change['re-learnt']:+.1f} points under the re-learnt attack, "
        f"{change['frozen']:+.1f} under the frozen one,\n{change['PGD']:+.1f} under PGD, and {change['clean']:+.1f} "
        "on clean images."
    )


def _verdict(summaries: Sequence[dict[str, Any]]) -> str:
    parts = []
    for name in (UNDEFENDED, DEFENDED):
        judged = [(summary["seed"], summary["suite"][name]) for summary in summaries]
        flags = [f"- Flag of seed {seed}, {line}" for seed, each in judged for line in _raised(each)]
        parts += [f"{name}:", _table(judged, VERDICT)[0], "\n".join(flags)]
    return (
        "## The verdict of the smoke suite\n\n"
        "What is left by the strongest perturbation for all, learnt on the very model (16/255 in total); for each\n"
        "query by the worst of the attacks of one who knows the model, and the gallery too (8/255); and by a short\n"
        "search that sees scores alone, on a tenth of the queries.\n\n"
    ) + "\n\n".join(filter(None, parts))


def _raised(judged: dict[str, Any]) -> list[str]:
    return [f"{flag['name']}: {flag['detail']}" for flag in judged["flags"]]


def _table(
    records: Sequence[tuple[int, dict[str, Any]]], columns: Mapping[str, tuple[str, ...]]
) -> tuple[str, dict[str, float]]:
    """A table of (seed, record), in %, and the mean of each column."""
    rows = [(seed, [100 * _value(record, path) for path in columns.values()]) for seed, record in records]
    lines = [["seed", *columns]]
    lines += [[str(seed), *(f"{value:.1f}" for value in row)] for seed, row in rows]
    by_column = list(zip(*(row for _, row in rows), strict=True))
    lines.append(["mean", *(f"{mean(values):.1f}" for values in by_column)])
    if len(rows) > 1:
        lines.append(["std", *(f"{stdev(values):.1f}" for values in by_column)])
    average = {column: mean(values) for column, values in zip(columns, by_column, strict=True)}
    return markdown(lines), average


def _value(record: dict[str, Any], path: tuple[str, ...]) -> float:
    value: Any = record
    for key in path:
        value = value[key]
    return float(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text())
        float(summary["seconds"]), int(summary["seed"])
        for name in VICTIMS:
            for column in COLUMNS.values():
                _value(summary["victims"][name], column)
        for column in WITHSTOOD.values():
            _value(summary["defended"], column)
            _value(summary["defended"]["undefended"], column)
        for name in (UNDEFENDED, DEFENDED):
            _raised(summary["suite"][name])
            for column in VERDICT.values():
                _value(summary["suite"][name], column)
    except OSError as error:
        raise ReidError(f"cannot read {path}: {error.strerror}; give a summary.json of bash runDemo.sh") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReidError(f"{path} is not a summary of the demo ({error!r}); run bash runDemo.sh") from error
    return summary


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m studies.seeds")
    parser.add_argument("summaries", nargs="+", type=Path, help="summary.json files, one per seed")
    args = parser.parse_args(argv)
    print(page(sorted((_read(path) for path in args.summaries), key=lambda summary: summary["seed"])))


if __name__ == "__main__":
    cli.run(main)
