"""What defences buy, on equal terms: the records of the defence study as one page in Markdown.

    python -m studies.defense > docs/defense-results.md

studies/defenseStudy.sh writes the records; studies/defense_results.py says what is in them. With --best it prints the
rows that are best on validation identities instead, one a line.
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
from collections.abc import Sequence
from pathlib import Path

from reid.errors import UsageError
from reid.runtime import cli
from studies import defense_tables as tables
from studies.defense_results import (
    COLUMNS,
    MORE_SEEDS,
    OTHERS,
    ROWS,
    SEEDS,
    STANDARD,
    TEST,
    TRAINED,
    UNDEFENDED,
    Record,
    Study,
    read_study,
)

META, TWIN = "meta", "mixed"  # the second is the first without the look-ahead
WITH_ANCHOR = ("fare", "anchored")
WEIGHTS = (0.25, 1.0, 4.0)
NOT_YET = "Nothing is chosen yet."

INTRODUCTION = """# Defence results

Made by `bash studies/defenseStudy.sh` from the records in `studies/defense-records`; mAP in % on drawn people. All rows
but `undefended` are fine-tuned from the demo's A of the same seed (resnet10, 80 x 40 images), in the same number of
steps, and but for `none` against the same attackers; `none` and `adversarial` see synth-a alone, all others the virtual
set too ([how](#how-each-row-was-trained)). They are judged by [`reid-fast-v1`](suite.md), where nothing else is said,
with 8/255 per component:

- universal 8 + 8: one perturbation for all queries, colour and delta, learnt on the very model;
- delta 16: the same by delta alone, at the total of both;
- image: each query by itself, 8/255 in all, knowing the model and training images;
- image, with gallery: the same, knowing the gallery too.

Values are mean ± sample standard deviation over seeds. Attacks of before the suite found less: the results of then are
in [defense-results-2026-11.md](defense-results-2026-11.md)."""

VERDICT = """The verdict: of one perturbation for all the strongest, of attacks on each image the worst case of each
query:"""

CHOICE = f"""Rows are chosen on validation identities, the tenth of the training people that neither trainings nor
attacks learn from, and never on query and gallery. The score is the mean of the five columns of the verdict
over seeds {", ".join(map(str, SEEDS))}:"""

PAIRED = """Differences in mAP of the verdict, on the same queries in the seeds that both rows have, with the
interval over identities (95 %, all seeds together). In bold is what is more than chance: the interval has no 0, and the
difference has the same sign in every seed. The interval is about people; what chance in training does shows in the
seeds alone."""

MODEL_OF_OTHERS = """OSNet x0.25, trained by others on real people (MSMT17), and the best three rows, fine-tuned from
it in the same way on people that are drawn at its own size; query and gallery of synth-a, under the cameras of the
training people. Under other cameras less is left ([what was tried](defend-your-model-tried.md#on-real-people)):"""


def page(study: Study) -> str:
    """The page; what is missing is called so."""
    ranked = study.ranked()
    few = ranked[:3] if len(ranked) == len(TRAINED) else []
    sections = {
        "All rows": _all_rows(study),
        "Which rows were chosen, and by what": _choice(study, ranked, few),
        "The best three": tables.over_seeds(study, (UNDEFENDED, *few), TEST, MORE_SEEDS, Record.worst)
        if few
        else NOT_YET,
        "The best row against all others": _against(study, few),
        "Where meta-learning stands": _meta(study, few),
        "The standard suite": _standard(study, few[:2]),
        "Clean mAP against robustness": _trade_off(study),
        "A model of others": _others(study, few),
        "Flags": f"What the suites doubt ([flags](suite.md#flags)):\n\n{tables.flags(study)}",
        "How each row was trained": _training(study),
    }
    return "\n\n".join([INTRODUCTION, *(f"## {title}\n\n{text}" for title, text in sections.items())])


def _all_rows(study: Study) -> str:
    worst, alone = (tables.over_seeds(study, ROWS, TEST, SEEDS, value) for value in (Record.worst, Record.alone))
    return f"{VERDICT}\n\n{worst}\n\nThe strongest single attack:\n\n{alone}"


def _choice(study: Study, ranked: Sequence[str], few: Sequence[str]) -> str:
    rows = [*ranked, *(row for row in ROWS if row not in ranked)]
    told = f"Chosen are, the best first, {', '.join(few)}." if few else NOT_YET
    return f"{CHOICE}\n\n{tables.on_validation(study, rows)}\n\n{told}"


def _against(study: Study, few: Sequence[str]) -> str:
    if not few:
        return NOT_YET
    return f"{PAIRED}\n\n{tables.differences(study, few[0], [row for row in ROWS if row != few[0]])}"


def _meta(study: Study, few: Sequence[str]) -> str:
    """What the look-ahead changes, as numbers and in words."""
    found = {words: study.difference(META, TWIN, key) for key, words in COLUMNS.items()}
    signs = {words: each.sign for words, each in found.items() if each}
    verdicts = {1: "better", -1: "worse", 0: "no different beyond chance"}
    parts = {words: [name for name in signs if signs[name] == sign] for sign, words in verdicts.items()}
    told = "; ".join(f"{words} in {', '.join(names)}" for words, names in parts.items() if names)
    lines = [f"`{META}` differs from `{TWIN}` by the look-ahead alone, and is {told or 'not judged yet'}."]
    if signs and 1 not in signs.values():
        lines.append("Nothing here justifies the cost of the look-ahead.")
    if few:
        place = study.ranked().index(META) + 1
        lines.append(f"By the score on validation identities `{META}` is number {place} of {len(TRAINED)} rows.")
    return f"{' '.join(lines)}\n\n{tables.differences(study, META, [TWIN])}"


def _standard(study: Study, rows: Sequence[str]) -> str:
    which = "The best two rows"
    if not rows:
        which = "The best two rows are not chosen yet; these have been judged by `reid-standard-v1`"
        rows = [row for row in ROWS if study.first(row, STANDARD)]
    if not rows:
        return NOT_YET
    suites = {TEST: "`reid-fast-v1`", STANDARD: "`reid-standard-v1`"}
    lines = {f"{row}, {suite}": study.first(row, name) for row in rows for name, suite in suites.items()}
    return f"{which}, seed {SEEDS[0]}, with intervals over identities (95 %):\n\n{tables.judgements(lines)}"


def _trade_off(study: Study) -> str:
    if len(ranked := study.ranked(WITH_ANCHOR)) < len(WITH_ANCHOR):
        return NOT_YET
    row = ranked[0]
    names = {f"`--anchor {weight:g}`": row if weight == 1 else f"{row}-anchor-{weight:g}" for weight in WEIGHTS}
    words = f"`{row}`, the better by score of the two rows that have a clean anchor, by its weight; seed {SEEDS[0]}:"
    return f"{words}\n\n{tables.judgements({weight: study.first(name, TEST) for weight, name in names.items()})}"


def _others(study: Study, rows: Sequence[str]) -> str:
    lines = {row: study.records.get((OTHERS, row, TEST)) for row in (UNDEFENDED, *rows)}
    return f"{MODEL_OF_OTHERS}\n\n{tables.judgements(lines)}"


def _training(study: Study) -> str:
    hours = sum(record.content["seconds"] for record in study.records.values()) / 3600
    lines = ["`metaDefense.py -s synth-a -m synth-virtual --resume A`, and:", tables.training(study)]
    lines.append(f"The judgements took {hours:.1f} hours together.")
    if mixed := study.restarted:
        lines.append(f"Not all rows of {', '.join(mixed)} start from the same file: it was made again in between.")
    return "\n\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m studies.defense")
    add = parser.add_argument
    folder = Path("studies/defense-records")
    add("records", nargs="?", type=Path, default=folder, help="folder of the records")
    add("--best", type=cli.positive_int, metavar="N", help="print the N rows of the best score instead of the page")
    among = "rows that --best is among (default: all that are trained)"
    add("--among", nargs="+", choices=TRAINED, default=[], metavar="ROW", help=among)
    args = parser.parse_args(argv)
    if args.among and not args.best:
        raise UsageError("--among says what --best is among; give --best N, or leave it out")
    study = read_study(args.records)
    print("\n".join(study.best(args.best, args.among or TRAINED)) if args.best else page(study))


if __name__ == "__main__":
    cli.run(main)
