"""What defences buy: the results of a study over several seeds as one page in Markdown, disappointing numbers included.

    python -m studies.defense STUDY > docs/defense-results.md

STUDY/seed0/ROW/results/*.json are the results of evaluate.py --adaptive for the model ROW of seed 0. Row "undefended"
is what the others were trained from; "none", "adversarial-pgd", "mixed-online", "meta-online-variant" and the like
are DEFENSE-ATTACKER; other names are listed after them.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from reid.errors import ReidError
from reid.evaluation.relearning import PGD, RELEARNT
from reid.evaluation.results import Result, read_results
from reid.evaluation.experiment import CLEAN, RANDOM_BOTH, RANDOM_LUT, RANDOM_SIGN
from reid.report.table import markdown
from reid.runtime import cli
from reid.training import DEFENSES
from reid.training.adversaries import ATTACKERS

UNDEFENDED = "undefended"
FROZEN, TRANSFER = "frozen", "transfer"
COLUMNS = (CLEAN, FROZEN, RELEARNT, PGD, TRANSFER, RANDOM_BOTH)
GAP_CLOSED, FROZEN_SHARE, CLEAN_CHANGE = "gap closed", "frozen / undefended clean", "change of clean mAP"
REQUIRED = {FROZEN_SHARE: 0.9, GAP_CLOSED: 0.5, CLEAN_CHANGE: -0.05}  # at least
PAIRS = (("meta", "mixed"), ("mixed", "adversarial"))

BySeed = Mapping[int, float]


def kind(result: Result) -> str | None:
    """Which attack a result is of, as far as that is no matter of files: clean images, a control, or one that knows
    the model; a re-learnt one only of type 0 and learnt on this very model."""
    attacker, name = result.attacker, result.attacker["name"]
    if name.startswith(RELEARNT):
        own = attacker.get("learnt_on") == result.victim["sha256"] and attacker["noise_type"] == 0
        return RELEARNT if own else None
    if attacker["sha256"] is not None:
        return None
    return next((each for each in (CLEAN, PGD, RANDOM_SIGN, RANDOM_LUT, RANDOM_BOTH) if name.startswith(each)), None)


def lowest(results: Iterable[Result], group: Callable[[Result], str | None]) -> dict[str, float]:
    """The lowest mAP of each group of results: of several attacks of one kind the strongest counts."""
    scores: dict[str, float] = {}
    for result in results:
        if (name := group(result)) is not None:
            scores[name] = min(result.metrics["mAP"], scores.get(name, 1.0))
    return scores


def _column(result: Result) -> str | None:
    name = result.attacker["name"]
    return FROZEN if "attack/0/" in name else TRANSFER if "transfer/" in name else kind(result)


@dataclass(frozen=True)
class Study:
    """`scores[row][seed][column]` is a mAP, or what is derived from some; `relearnt` are all re-learnt attacks, by row
    and seed."""

    scores: dict[str, dict[int, dict[str, float]]]
    relearnt: dict[tuple[str, int], list[Result]]

    @property
    def seeds(self) -> list[int]:
        return sorted(self.scores[UNDEFENDED])

    @property
    def rows(self) -> list[str]:
        """The undefended row, then by defence and attacker, then by name."""

        def place(row: str) -> tuple[int, int, str]:
            defence, _, attacker = row.partition("-")
            first, second = (UNDEFENDED, *DEFENSES), ("", *ATTACKERS)
            return (
                first.index(defence) if defence in first else len(first),
                second.index(attacker) if attacker in second else len(second),
                row,
            )

        return sorted(self.scores, key=place)

    def values(self, row: str, column: str) -> dict[int, float]:
        """By seed; a seed in which it was not measured is left out."""
        return {seed: scores[column] for seed, scores in sorted(self.scores[row].items()) if column in scores}

    def differences(self, row: str, other: str, column: str) -> dict[int, float]:
        """`row` minus `other` in the same seed."""
        values, others = self.values(row, column), self.values(other, column)
        return {seed: value - others[seed] for seed, value in values.items() if seed in others}


def read_study(folders: Sequence[Path]) -> Study:
    """The study in folders as the module describes them; rows of several folders come together.

    Raises ReidError for results that must not be compared, and for a seed without its undefended model.
    """
    results: dict[int, dict[str, list[Result]]] = defaultdict(dict)
    for folder in folders:
        for path in sorted(folder.glob("seed*/*/results")):
            number, row = path.parts[-3].removeprefix("seed"), path.parts[-2]
            found = read_results(path)
            if not number.isdecimal() or not found:
                continue
            if row in results[int(number)]:
                raise ReidError(f"{path}: {row} of seed {number} is in another folder too; keep one of them")
            if len({result.victim["sha256"] for result in found}) > 1:
                raise ReidError(f"{path} holds results of more than one model; empty it and evaluate again")
            results[int(number)][row] = found
    if not results:
        raise ReidError(f"no results in {folders[0]}/seed*/*/results; run evaluate.py --adaptive to write some")
    _check_comparable(results)
    scores: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    for seed, rows in results.items():
        undefended = lowest(rows.get(UNDEFENDED, []), _column)
        if not {CLEAN, RELEARNT} <= undefended.keys():
            raise ReidError(f"seed {seed} lacks results of {UNDEFENDED}; evaluate that model with --adaptive first")
        for row, found in rows.items():
            measured = lowest(found, _column)
            scores[row][seed] = measured | (_derived(measured, undefended) if row != UNDEFENDED else {})
    relearnt = {
        (row, seed): [result for result in found if kind(result) == RELEARNT]
        for seed, rows in results.items()
        for row, found in rows.items()
    }
    return Study(dict(scores), relearnt)


def _check_comparable(results: Mapping[int, Mapping[str, Sequence[Result]]]) -> None:
    for seed, rows in results.items():
        found = [result for each in rows.values() for result in each]
        if any(result.dataset != found[0].dataset for result in found):
            raise ReidError(f"the results of seed {seed} are of different datasets; evaluate all its rows on one")
    hashes = {result.protocol_hash for rows in results.values() for found in rows.values() for result in found}
    if len(hashes) > 1:
        raise ReidError("the results are of different protocols; evaluate all rows with the same options")


def _derived(scores: Mapping[str, float], undefended: Mapping[str, float]) -> dict[str, float]:
    """What is required of a defended model, from its scores and those of the undefended one."""
    derived = {}
    gap = undefended[CLEAN] - undefended[RELEARNT]
    if RELEARNT in scores and gap > 0:
        derived[GAP_CLOSED] = (scores[RELEARNT] - undefended[RELEARNT]) / gap
    if FROZEN in scores:
        derived[FROZEN_SHARE] = scores[FROZEN] / undefended[CLEAN]
    if CLEAN in scores:
        derived[CLEAN_CHANGE] = scores[CLEAN] - undefended[CLEAN]
    return derived


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
    counts = sorted({len(found) for found in study.relearnt.values() if found})
    restarts = " or ".join(map(str, counts))
    everything = [result for found in study.relearnt.values() for result in found]
    stopped = [r for r in everything if any(c["name"] == "converged" and not c["passed"] for c in r.checks)]
    return (
        f"mAP in % on people that no model saw in training, mean ± sample standard deviation over seeds "
        f"({', '.join(map(str, study.seeds))}).\n\n"
        f"- {FROZEN}: the universal perturbation (type 0) that was learnt on the undefended model of the same seed\n"
        f"- {RELEARNT}: learnt anew on that very model, the worst of {restarts} restarts. Of {len(everything)} such "
        f"attacks {len(stopped)} had not converged when they ended.\n"
        f"- {PGD}: another perturbation for each image, white-box\n"
        f"- {TRANSFER}: learnt on another model\n"
        f"- {RANDOM_BOTH}: the control, the same budget without learning\n"
        f"- {GAP_CLOSED}: (re-learnt - undefended re-learnt) / (undefended clean - undefended re-learnt), per seed"
    )


def _main_table(study: Study) -> str:
    lines = [["model", *COLUMNS, GAP_CLOSED]]
    for row in study.rows:
        cells = [_percent(study.values(row, column), study) for column in COLUMNS]
        lines.append([row, *cells, _fraction(study.values(row, GAP_CLOSED), study)])
    return markdown(lines)


def _verdict(study: Study) -> list[str]:
    """Which row is best under the re-learnt attack, and what it and the others meet."""
    complete = [
        row for row in study.rows if row != UNDEFENDED and study.values(row, RELEARNT).keys() == set(study.seeds)
    ]
    if not complete:
        return [f"No defended model has been measured under the {RELEARNT} attack in every seed yet."]
    best, *others = sorted(complete, key=lambda row: -mean(study.values(row, RELEARNT).values()))
    words = f"Best under the {RELEARNT} attack is **{best}**: {_percent(study.values(best, RELEARNT), study)}"
    if others:
        ahead = _percent(study.differences(best, others[0], RELEARNT), study)
        words += f", ahead of the next, {others[0]}, by {ahead} (differences within a seed)"
    meeting = [row for row in study.rows if row != UNDEFENDED and all(_holds(study, row, name) for name in REQUIRED)]
    return [
        f"{words}. What is required of it:",
        "\n".join(_requirement(study, best, name, least) for name, least in REQUIRED.items()),
        f"All three hold on average for: {', '.join(meeting) or 'no model'}.",
    ]


def _holds(study: Study, row: str, name: str) -> bool | None:
    """On average; None when it was not measured in every seed."""
    values = study.values(row, name)
    return mean(values.values()) >= REQUIRED[name] if values.keys() == set(study.seeds) else None


def _requirement(study: Study, row: str, name: str, least: float) -> str:
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
    for defence, other in PAIRS:
        verdicts = defaultdict(list)
        for row in study.rows:
            against = _counterpart(study, row, other) if row.startswith(f"{defence}-") else None
            if against is None:
                continue
            cells = [_percent(study.differences(row, against, column), study, sign="+") for column in columns]
            lines.append([f"{row} minus {against}", *cells])
            verdicts[_compare(study.differences(row, against, RELEARNT).values())].append(row)
        found = "; ".join(f"{verdict}: {', '.join(rows)}" for verdict, rows in verdicts.items())
        sentences.append(f"{defence} against {other}, under the {RELEARNT} attack: {found or 'nothing to compare'}.")
    sentences.append("Beyond the spread: the mean difference is larger than the standard deviation of the differences.")
    return [*([markdown(lines)] if len(lines) > 1 else []), *sentences]


def _counterpart(study: Study, row: str, other: str) -> str | None:
    """The row of the defence `other` with the same attackers as `row`, of the same variant if there is one."""
    parts = row.split("-")[1:]
    for length in range(len(parts), 0, -1):
        name = "-".join([other, *parts[:length]])
        if name in study.scores and not set(parts[length:]) & set(ATTACKERS):
            return name
    return None


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
            lines.append([row, str(seed), *cells, f"{scores[GAP_CLOSED]:.2f}" if GAP_CLOSED in scores else "–"])
    return markdown(lines)


def _percent(values: BySeed, study: Study, sign: str = "") -> str:
    return _fraction({seed: 100 * value for seed, value in values.items()}, study, digits=1, sign=sign)


def _fraction(values: BySeed, study: Study, digits: int = 2, sign: str = "") -> str:
    """Mean ± sample standard deviation, with the number of seeds where it is not that of the study."""
    if not values:
        return "–"
    cell = f"{mean(values.values()):{sign}.{digits}f}"
    if len(values) > 1:
        cell += f" ± {stdev(values.values()):.{digits}f}"
    return cell if 1 < len(values) == len(study.seeds) else f"{cell} (n={len(values)})"


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m studies.defense")
    parser.add_argument("folders", nargs="+", type=Path, metavar="STUDY", help="folders of a study")
    args = parser.parse_args(argv)
    print(page(read_study(args.folders)))


if __name__ == "__main__":
    cli.run(main)
