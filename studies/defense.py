"""What defences buy, on equal terms: the records of the defence study as one page in Markdown.

    python -m studies.defense > docs/defense-results.md

studies/defenseStudy.sh writes the records; studies/defense_results.py says what is in them. With --best it prints the
rows that are best on validation identities instead, one a line.
"""

import reid  # isort: skip  # noqa: F401  # first: from here on Ctrl-C is one line
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from reid.errors import UsageError
from reid.runtime import cli
from reid.runtime.markdown import markdown
from studies.defense_results import (
    COLUMNS,
    GOALS,
    OTHERS,
    ROWS,
    SEEDS,
    STANDARD,
    TEST,
    UNDEFENDED,
    VALIDATION,
    Difference,
    Record,
    Study,
    read_study,
)

FOLDER = Path("studies/defense-records")
META, TWIN = "meta", "mixed"  # the second is the first without the look-ahead
FEW = 3  # rows that more seeds are spent on
WITH_ANCHOR = ("fare", "anchored")
MISSING = "missing"

INTRODUCTION = f"""# Defence results

Made by `bash studies/defenseStudy.sh` from the records in `studies/defense-records`. mAP in % on drawn people. All rows
are fine-tuned from the demo's A of the same seed (resnet10, 80 x 40 images), on the same two sets, for the same number
of steps, against the same attackers in training ([how](#how-each-row-was-trained)). They are judged by
[`reid-fast-v1`](suite.md) with 8/255 per component, where nothing else is said:

- universal 8 + 8: one perturbation for all queries, colour and delta, learnt on the very model;
- delta 16: the same by delta alone, at the total of both;
- image: each query by itself, 8/255 in all, knowing the model and training images;
- image, with gallery: the same, knowing the gallery too.

Values are mean ± sample standard deviation over seeds. What is not there yet is {MISSING}. Attacks of before the suite
found less: the results of then are in [defense-results-2026-11.md](defense-results-2026-11.md)."""

PAIRED = """Differences in mAP of the worst case, on the same queries in the seeds that both rows have, with the interval
over identities (95 %, all seeds together). In bold is what is more than chance: the interval has no 0, and the
difference has the same sign in every seed. The interval is about people; how much a row varies with its training shows
in the seeds alone."""


def page(study: Study) -> str:
    """The page, whatever is missing."""
    ranked = study.ranked()
    few = ranked[:FEW] if _is_decided(study) else []
    sections = {
        "All rows": _all_rows(study),
        "Which rows were chosen": _chosen(study, ranked),
        "The best three": _best(study, few),
        "Row against row": _against(study, few),
        "Where meta-learning stands": _meta(study, ranked),
        "The standard suite": _standard(study, few[:2]),
        "The trade-off": _trade_off(study),
        "A model of others": _others(study, few[:2]),
        "Flags": _flags(study),
        "How each row was trained": _training(study),
    }
    return "\n\n".join([INTRODUCTION, *(f"## {title}\n\n{text}" for title, text in sections.items())])


def _is_decided(study: Study) -> bool:
    return all(study.score(row) is not None for row in ROWS if row != UNDEFENDED)


def _all_rows(study: Study) -> str:
    seeds = ", ".join(map(str, SEEDS))
    return "\n\n".join(
        [
            f"Query and gallery, seeds {seeds}. The worst case of each query:",
            _table(study, ROWS, TEST, SEEDS, Record.worst),
            "The strongest single attack:",
            _table(study, ROWS, TEST, SEEDS, Record.alone),
        ]
    )


def _table(
    study: Study, rows: Sequence[str], name: str, seeds: Sequence[int], value: Callable[[Record, str], float]
) -> str:
    lines = [["row", *COLUMNS.values(), "seeds"]]
    for row in rows:
        records = study.of(row, name, seeds)
        cells = [_spread([100 * value(record, column) for record in records.values()]) for column in COLUMNS]
        lines.append([row, *cells, str(len(records) or MISSING)])
    return markdown(lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _chosen(study: Study, ranked: Sequence[str]) -> str:
    words = (
        "Rows are chosen on validation identities, the tenth of the training people that neither training nor attacks "
        "learn from, and never on query and gallery. The score is the mean of the five columns over all of seeds "
        f"{', '.join(map(str, SEEDS))}; the worst case of each query there:"
    )
    lines = [["row", "score", *COLUMNS.values()]]
    for row in [*ranked, *(row for row in ROWS if row not in ranked)]:
        score, records = study.score(row), study.of(row, VALIDATION).values()
        cells = [_spread([100 * record.worst(column) for record in records]) for column in COLUMNS]
        lines.append([row, MISSING if score is None else f"{100 * score:.1f}", *cells])
    told = f"Chosen, the best first: {', '.join(ranked[:FEW])}." if _is_decided(study) else "Nothing is chosen yet."
    return "\n\n".join([words, markdown(lines), told])


def _best(study: Study, few: Sequence[str]) -> str:
    if not few:
        return "Nothing is chosen yet."
    words = "The chosen rows on query and gallery, with more seeds; the worst case of each query:"
    return f"{words}\n\n{_table(study, [UNDEFENDED, *few], TEST, study.seeds, Record.worst)}"


def _against(study: Study, few: Sequence[str]) -> str:
    if not few:
        return "Nothing is chosen yet."
    best = few[0]
    lines = [["difference", *COLUMNS.values()]]
    for row in (row for row in ROWS if row != best):
        lines.append([f"{best} minus {row}", *(_difference(study.difference(best, row, key)) for key in COLUMNS)])
    return f"{PAIRED}\n\n{markdown(lines)}"


def _difference(found: Difference | None) -> str:
    if found is None:
        return MISSING
    low, high = found.interval
    text = f"{100 * found.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"**{text}**" if found.sign else text


def _meta(study: Study, ranked: Sequence[str]) -> str:
    differences = {key: study.difference(META, TWIN, key) for key in COLUMNS}
    lines = [["difference", *COLUMNS.values()]]
    lines.append([f"{META} minus {TWIN}", *map(_difference, differences.values())])
    if META in ranked and _is_decided(study):
        place = (
            f"By the score on validation identities {META} is number {ranked.index(META) + 1} of {len(ranked)} rows."
        )
    else:
        place = f"The score of {META} among all rows is not known yet."
    found = {COLUMNS[key]: each.sign for key, each in differences.items() if each}
    return "\n\n".join([place, markdown(lines), _twins(found)])


def _twins(signs: Mapping[str, int]) -> str:
    """In words, what the look-ahead changes, from the sign of the difference by column."""
    if not signs:
        return f"Whether it is worth its cost is not known yet: `{META}` or `{TWIN}` was not judged."
    verdicts = {1: "better", -1: "worse", 0: "no different beyond chance"}
    parts = {words: [name for name in signs if signs[name] == sign] for sign, words in verdicts.items()}
    told = "; ".join(f"{words}: {', '.join(names)}" for words, names in parts.items() if names)
    words = f"`{META}` differs from `{TWIN}` by the look-ahead alone. {META} against {TWIN} is {told}."
    if 1 not in signs.values():
        return f"{words} Nothing here justifies the cost of the look-ahead."
    return words if -1 in signs.values() else f"{words} The look-ahead helps."


def _standard(study: Study, rows: Sequence[str]) -> str:
    if not rows:
        return "Nothing is chosen yet."
    lines = [["row", "judged by", *COLUMNS.values()]]
    for row in rows:
        for name in (TEST, STANDARD):
            record = study.of(row, name, SEEDS[:1]).get(SEEDS[0])
            suite = "`reid-standard-v1`" if name == STANDARD else "`reid-fast-v1`"
            lines.append([row, suite, *_judged(record)])
            lines.append([row, f"{suite}, strongest alone", *_alone(record)])
    return (
        f"The best two rows, seed {SEEDS[0]}, query and gallery, with intervals over identities (95 %):\n\n"
        + markdown(lines)
    )


def _judged(record: Record | None) -> list[str]:
    """A cell for each column: the mAP of the worst case, with its interval."""
    if record is None:
        return [MISSING] * len(COLUMNS)
    bounds = {key: [100 * each for each in record.interval(key)] for key in COLUMNS}
    return [f"{100 * record.worst(key):.1f} [{low:.1f}, {high:.1f}]" for key, (low, high) in bounds.items()]


def _alone(record: Record | None) -> list[str]:
    return [f"{100 * record.alone(key):.1f}" if record else MISSING for key in COLUMNS]


def _trade_off(study: Study) -> str:
    ranked = study.ranked(WITH_ANCHOR)
    if len(ranked) < len(WITH_ANCHOR):
        return "Nothing is chosen yet."
    row = ranked[0]
    lines = [["weight", *COLUMNS.values()]]
    for weight in (0.25, 1.0, 4.0):
        name = row if weight == 1 else f"{row}-anchor-{weight:g}"
        lines.append([f"{weight:g}", *_judged(study.of(name, TEST, SEEDS[:1]).get(SEEDS[0]))])
    words = (
        f"Clean mAP against robustness, by the weight of the clean anchor (`--anchor`), of `{row}`: the better one by "
        f"score of the two rows that have it. Seed {SEEDS[0]}, query and gallery, the worst case:"
    )
    return f"{words}\n\n{markdown(lines)}"


def _others(study: Study, rows: Sequence[str]) -> str:
    words = "OSNet x0.25, trained by others on real people (MSMT17), fine-tuned in the same way on drawn people at its own size"
    lines = [["row", *COLUMNS.values()]]
    for row in (UNDEFENDED, *rows):
        lines.append([row, *_judged(study.records.get((OTHERS, row, TEST)))])
    return f"{words}; query and gallery of synth-a, the worst case of each query:\n\n{markdown(lines)}"


def _flags(study: Study) -> str:
    raised = Counter((row, name, flag["name"]) for row, name, flag in _all_flags(study))
    judged = Counter((row, name) for _, row, name in study.records)
    if not judged:
        return "Nothing was judged yet."
    lines = [["flag", "row", "judged on", "raised in"]]
    for (row, name, flag), count in sorted(raised.items(), key=lambda item: (item[0][2], item[0])):
        lines.append([flag, row, name, f"{count} of {judged[row, name]}"])
    words = "What the suites doubt ([flags](suite.md#flags)); a row that is not here raised none."
    return f"{words}\n\n{markdown(lines)}" if raised else "No flag was raised in any judgement."


def _all_flags(study: Study) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    for (_, row, name), record in study.records.items():
        yield from ((row, name, flag) for flag in record.content["flags"])


def _training(study: Study) -> str:
    if not study.records:
        return "Nothing was trained yet."
    options: dict[str, dict[str, None]] = {}
    for (_, row, _), record in study.records.items():
        options.setdefault(row, {})[record.content["trained"] or "not at all"] = None
    lines = [["row", "`metaDefense.py -s synth-a -m synth-virtual --resume A`, and"]]
    lines += [[row, "; ".join(f"`{each}`" for each in told)] for row, told in sorted(options.items())]
    starts: dict[str, set[str]] = {}
    for (subject, _, _), record in study.records.items():
        starts.setdefault(subject, set()).add(record.content["start"])
    mixed = [subject for subject, found in starts.items() if len(found) > 1]
    hours = sum(record.content["seconds"] for record in study.records.values()) / 3600
    told = f"All judgements together took {hours:.1f} hours."
    if mixed:
        told += f" Not all rows of {', '.join(mixed)} start from the same file: it was made again in between."
    return f"{markdown(lines)}\n\n{told}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, argv, prog="python -m studies.defense")
    add = parser.add_argument
    add("records", nargs="?", type=Path, default=FOLDER, help="folder of the records")
    add("--best", type=cli.positive_int, metavar="N", help="print the N rows of the best score instead of the page")
    rows = [row for row in ROWS if row != UNDEFENDED]
    add(
        "--among",
        nargs="+",
        choices=rows,
        metavar="ROW",
        help="rows that --best is among (default: all that are trained)",
    )
    args = parser.parse_args(argv)
    if args.among and not args.best:
        raise UsageError("--among is for --best; leave it out")
    study = read_study(args.records)
    print("\n".join(study.best(args.best, args.among or rows)) if args.best else page(study))


if __name__ == "__main__":
    cli.run(main)
