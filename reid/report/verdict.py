"""The verdict of a suite: a file, and what evaluate.py prints of it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from reid.attacks.threat import format_budget
from reid.evaluation.flags import raised
from reid.evaluation.goals import GOALS, ONE_FOR_ALL
from reid.evaluation.results import SUMMARY
from reid.evaluation.suites import Suite
from reid.evaluation.verdict import Judgement
from reid.report.live import refresh
from reid.runtime.files import write_atomically


def conclude(judgement: Judgement, name: str, suite: Suite) -> list[str]:
    """The verdict of a suite that judges, line by line, which goes into NAME-summary.json and a page in the folder of
    the results too; the flags of one that only attacks."""
    if not suite.judges:
        return [*flag_lines(raised(judgement))] if suite.attacks else []
    summary = judgement.summary(name)
    path = judgement.folder / f"{name}{SUMMARY}"
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    page = refresh(judgement.folder)
    return [*words(summary), f"the same as numbers: {path}", *([f"the same as a page: {page}"] if page else [])]


def words(summary: dict[str, Any]) -> Iterator[str]:
    """The verdict, line by line."""
    suite, dataset, eps = summary["suite"], summary["dataset"], format_budget(summary["eps"])
    yield f"\n{suite} on {dataset}: {eps} per component; mAP in %, 95 % over identities"
    yield "one perturbation for all: the strongest; one by one: the worst case of each query, then the strongest alone"
    yield _line("clean", summary["clean"], summary["intervals"]["clean"], "")
    for goal, text in GOALS.items():
        if (mAP := summary["worst"][goal]) is not None:
            strongest = summary["strongest"][goal]
            some = "" if strongest["queries"] == summary["queries"]["clean"] else f" on {strongest['queries']} queries"
            best = "strongest" if goal in ONE_FOR_ALL else f"alone {100 * strongest['mAP']:.1f}"
            yield _line(text, mAP, summary["intervals"][goal], f"{best}{some}: {strongest['attack']}")
    yield _line("chance", summary["chance"], None, "")
    yield from flag_lines(summary["flags"])
    if not summary["flags"]:
        yield "no flags are raised"


def flag_lines(flags: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Each flag that is raised."""
    for flag in flags:
        yield f"flag: {flag['name']}: {flag['detail']}; {flag['means']}; to do: {flag['do']}"


def _line(text: str, mAP: float, interval: list[float] | None, rest: str) -> str:
    spread = "" if interval is None else f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return f"  {text:<62} {100 * mAP:5.1f}  {spread:<14} {rest}".rstrip()
