"""Demo summaries of several seeds as one page in Markdown, disappointing numbers included.

python -m reid.report.seeds runs/demo/summary.json runs/demo-seed*/summary.json > docs/demo-results.md
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from reid.errors import ReidError
from reid.report.demo import VICTIMS
from reid.training import cli

COLUMNS = {
    "clean": ("clean",),
    "type 0": ("attacked", "0"),
    "type 1": ("attacked", "1"),
    "type 2": ("attacked", "2"),
    "random sign": ("controls", "random_sign"),
    "random LUT": ("controls", "random_lut"),
    "random both": ("controls", "both"),
    "chance": ("chance",),
}


def page(summaries: Sequence[dict[str, Any]]) -> str:
    """The page for summaries as `reid.report.demo` writes them."""
    return "\n\n".join(["# Demo results", _introduction(summaries), *(_victim(name, summaries) for name in VICTIMS)])


def _introduction(summaries: Sequence[dict[str, Any]]) -> str:
    seconds = ", ".join(f"{summary['seconds']:.0f} s (seed {summary['seed']})" for summary in summaries)
    return (
        "mAP in % of `bash runDemo.sh SEED` on people that no model saw in training. Types 0, 1 and 2 are the learnt\n"
        "perturbations (colour + delta, colour, delta; 8/255 per component), learnt on victim A alone; the random\n"
        "ones spend the same budget without learning. The seed draws everything: people, cameras, training, attack.\n\n"
        f"Wall time: {seconds}."
    )


def _victim(name: str, summaries: Sequence[dict[str, Any]]) -> str:
    victims = [summary["victims"][name] for summary in summaries]
    rows = [[100 * _value(victim, path) for path in COLUMNS.values()] for victim in victims]
    head = ["seed", *COLUMNS]
    lines = [head, ["---"] * len(head)]
    lines += [[str(s["seed"]), *(f"{value:.1f}" for value in row)] for s, row in zip(summaries, rows, strict=True)]
    columns = list(zip(*rows, strict=True))
    lines.append(["mean", *(f"{mean(column):.1f}" for column in columns)])
    if len(rows) > 1:
        lines.append(["std", *(f"{stdev(column):.1f}" for column in columns)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    average = {column: mean(values) for column, values in zip(COLUMNS, columns, strict=True)}
    cost = {column: average["clean"] - value for column, value in average.items()}
    return (
        f"## Victim {name}: {victims[0]['arch']} on {victims[0]['dataset']}\n\n{table}\n\n"
        f"On average type 0 leaves {average['type 0'] / average['clean']:.2f} of the clean mAP; it costs "
        f"{cost['type 0']:.1f} points, random sign {cost['random sign']:.1f}, random LUT {cost['random LUT']:.1f}, "
        f"random both {cost['random both']:.1f}."
    )


def _value(victim: dict[str, Any], path: tuple[str, ...]) -> float:
    value: Any = victim
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReidError(f"{path} is not a summary of the demo ({error!r}); run bash runDemo.sh") from error
    return summary


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m reid.report.seeds")
    parser.add_argument("summaries", nargs="+", type=Path, help="summary.json files, one per seed")
    args = parser.parse_args(argv)
    print(page(sorted((_read(path) for path in args.summaries), key=lambda summary: summary["seed"])))


if __name__ == "__main__":
    cli.run(main)
