"""What defences buy: the results of a study over several seeds as one page in Markdown, disappointing numbers included.

    python -m studies.defense STUDY > docs/defense-results.md

studies/defenseStudy.sh writes a STUDY; studies/defense_results.py says what is in one.
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev

from reid.runtime import cli
from reid.runtime.markdown import markdown
from studies.columns import CLEAN, PGD, RANDOM_BOTH, RELEARNT
from studies.defense_results import (
    CLEAN_CHANGE,
    COLUMNS,
    FROZEN,
    FROZEN_SHARE,
    GAP_CLOSED,
    TRANSFER,
    Row,
    Study,
    read_study,
)

REQUIRED = {FROZEN_SHARE: 0.9, GAP_CLOSED: 0.5, CLEAN_CHANGE: -0.05}  # at least
PAIRS = (("meta", "mixed"), ("mixed", "adversarial"))


def page(study: Study) -> str:
    """The page: a table of all rows, what is required of the best one, paired comparisons, and every number."""
    return "\n\n".join(
        [
            "# Defence results",
            _introduction(study),
            _main_table(study),
            "## Is it enough?",
            *_verdict(study),
            "## The same attacker, another defence",
            *_comparisons(study),
            "## Every seed",
            _all_numbers(study),
        ]
    )


def _introduction(study: Study) -> str:
    counts = sorted({len(attacks) for attacks in study.relearnt.values() if attacks})
    restarts = " or ".join(map(str, counts))
    relearnt = [result for attacks in study.relearnt.values() for result in attacks]
    stopped = [r for r in relearnt if any(c["name"] == "converged" and not c["passed"] for c in r.checks)]
    lines = {
        FROZEN: "the universal perturbation (type 0) that was learnt on the undefended model of the same seed",
        RELEARNT: f"type 0 learnt on the very model that it attacks, the worst of {restarts} restarts. Of "
        f"{len(relearnt)} such attacks {len(stopped)} had not converged when they ended",
        PGD: "another perturbation for each image, white-box",
        TRANSFER: "type 0, learnt on another model",
        RANDOM_BOTH: "the control, the same budget without learning",
        GAP_CLOSED: "(re-learnt - undefended re-learnt) / (undefended clean - undefended re-learnt), per seed",
    }
    totals = {name: f"; total budget {study.budgets[name]}" for name in lines if name in study.budgets}
    seeds = ", ".join(map(str, study.seeds))
    head = f"mAP in % on people that no model saw in training, mean ± sample standard deviation over seeds ({seeds}).\n"
    return "\n".join([head, *(f"- {name}: {words}{totals.get(name, '')}" for name, words in lines.items())])


def _main_table(study: Study) -> str:
    lines = [["model", *COLUMNS, GAP_CLOSED]]
    for row in study.rows:
        cells = [_percent(study.values(row, column), study) for column in COLUMNS]
        lines.append([row.name, *cells, _fraction(study.values(row, GAP_CLOSED), study)])
    return markdown(lines)


def _verdict(study: Study) -> list[str]:
    """Which row is best under the re-learnt attack, and what it and the others meet."""
    defended = [row for row in study.rows if row.is_defended]
    complete = [row for row in defended if study.values(row, RELEARNT).keys() == set(study.seeds)]
    if not complete:
        return [f"No defended model has been measured under the {RELEARNT} attack in every seed yet."]
    best, *others = sorted(complete, key=lambda row: -mean(study.values(row, RELEARNT).values()))
    words = f"Best under the {RELEARNT} attack is **{best.name}**: {_percent(study.values(best, RELEARNT), study)}"
    if others:
        ahead = _percent(study.differences(best, others[0], RELEARNT), study)
        words += f", ahead of the next, {others[0].name}, by {ahead} (differences within a seed)"
    meeting = [row.name for row in defended if all(_holds(study, row, name) for name in REQUIRED)]
    return [
        f"{words}. What is required of it:",
        "\n".join(_requirement(study, best, name, least) for name, least in REQUIRED.items()),
        f"All three hold on average for: {', '.join(meeting) or 'no model'}.",
    ]


def _holds(study: Study, row: Row, name: str) -> bool | None:
    """On average; None when it was not measured in every seed."""
    values = study.values(row, name)
    return mean(values.values()) >= REQUIRED[name] if values.keys() == set(study.seeds) else None


def _requirement(study: Study, row: Row, name: str, least: float) -> str:
    values = study.values(row, name)
    answer = {None: "not known: not measured in every seed", True: "holds", False: "does not hold"}
    met = sum(value >= least for value in values.values())
    return (
        f"- {name}, at least {least:g}: {_fraction(values, study, digits=3)}; **{answer[_holds(study, row, name)]}** "
        f"(in {met} of {len(study.seeds)} seeds)"
    )


def _comparisons(study: Study) -> list[str]:
    """Differences within a seed between rows that were trained against the same attacker."""
    columns = (RELEARNT, FROZEN, CLEAN)
    lines = [["difference", *columns]]
    sentences = []
    for defense, other in PAIRS:
        verdicts = defaultdict(list)
        for row, against in _pairs(study, defense, other):
            cells = [_percent(study.differences(row, against, column), study, sign="+") for column in columns]
            lines.append([f"{row.name} minus {against.name}", *cells])
            verdicts[_compare(study.differences(row, against, RELEARNT).values())].append(row.name)
        words = "; ".join(f"{verdict}: {', '.join(rows)}" for verdict, rows in verdicts.items())
        sentences.append(f"{defense} against {other}, under the {RELEARNT} attack: {words or 'nothing to compare'}.")
    sentences.append("Beyond the spread: the mean difference is larger than the standard deviation of the differences.")
    return [*([markdown(lines)] if len(lines) > 1 else []), *sentences]


def _pairs(study: Study, defense: str, other: str) -> list[tuple[Row, Row]]:
    """Rows of one defence, each with those of the other that were trained against the same attackers."""
    pairs = product(study.rows, repeat=2)
    return [(a, b) for a, b in pairs if (a.defense, b.defense) == (defense, other) and a.attackers == b.attackers]


def _compare(differences: Collection[float]) -> str:
    if len(differences) < 2:
        return "too few seeds to tell"
    if abs(mean(differences)) <= stdev(differences):
        return "no difference beyond the spread"
    return "better beyond the spread" if mean(differences) > 0 else "worse beyond the spread"


def _all_numbers(study: Study) -> str:
    lines = [["model", "seed", *COLUMNS, GAP_CLOSED]]
    for row in study.rows:
        for seed, scores in sorted(study.scores[row].items()):
            cells = [f"{100 * scores[column]:.1f}" if column in scores else "–" for column in COLUMNS]
            lines.append([row.name, str(seed), *cells, f"{scores[GAP_CLOSED]:.2f}" if GAP_CLOSED in scores else "–"])
    return markdown(lines)


def _percent(values: Mapping[int, float], study: Study, sign: str = "") -> str:
    return _fraction({seed: 100 * value for seed, value in values.items()}, study, digits=1, sign=sign)


def _fraction(values: Mapping[int, float], study: Study, digits: int = 2, sign: str = "") -> str:
    """Mean ± sample standard deviation, with the number of seeds where some are missing."""
    if not values:
        return "–"
    cell = f"{mean(values.values()):{sign}.{digits}f}"
    if len(values) > 1:
        cell += f" ± {stdev(values.values()):.{digits}f}"
    return cell if 1 < len(values) == len(study.seeds) else f"{cell} (n={len(values)})"


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m studies.defense")
    parser.add_argument("folders", nargs="+", type=Path, metavar="STUDY", help="folders of a study")
    print(page(read_study(parser.parse_args(argv).folders)))


if __name__ == "__main__":
    cli.run(main)
