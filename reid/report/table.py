"""The table of results that evaluate.py prints."""

from collections.abc import Iterable, Sequence

from reid.attacks.threat import Threat, format_budget
from reid.evaluation.kinds import RELEARNT
from reid.evaluation.results import Result

HEADER = ("attack", "budget, L-inf", "total", "spent", "mAP", "of clean", "mINP", "rank-1", "rank-5", "rank-10")


def summary(results: Sequence[Result]) -> str:
    """What `evaluate.py` prints of the results of one model: what was measured, the table, and what to read in it."""
    victim, dataset, metrics = results[0].victim, results[0].dataset, results[0].metrics
    sizes = f"{dataset['num_query']} queries, {dataset['num_gallery']} gallery images"
    side, skipped = results[0].protocol["side"], metrics["num_skipped"]
    lines = [
        f"{victim['path']} ({victim['arch']}) on {dataset['name']}: {sizes}",
        f"attacked: {side}; queries without a match, skipped: {skipped}; all scores in %",
        table(results),
    ]
    if collapsed := [result.attack["name"] for result in results if result.metrics.get("collapsed")]:
        lines.append(f"features that hardly differ, so that their order means little: {', '.join(collapsed)}")
    if relearnt := [result.metrics["mAP"] for result in results if result.attack["kind"] == RELEARNT]:
        lines.append(f"worst of the re-learnt attacks: mAP {100 * min(relearnt):.1f}; this counts, not a frozen attack")
    return "\n".join([*lines, f"mAP of a random ranking (chance): {100 * metrics['chance_mAP']:.1f}"])


def table(results: Iterable[Result]) -> str:
    """One line per result: mAP, mINP and market1501 ranks in %; mAP also in % of the first result's (clean)."""
    lines: list[tuple[str, ...]] = []
    clean = None
    for result in results:
        clean = clean or result.metrics["mAP"]
        lines.append(_line(result, clean))
    widths = [max(len(line[i]) for line in [HEADER, *lines]) for i in range(len(HEADER))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(_format(line, widths) for line in [HEADER, rule, *lines])


def _line(result: Result, clean: float) -> tuple[str, ...]:
    metrics = result.metrics
    ranks = metrics["cmc"]["market1501"]
    scores = [metrics["mAP"], metrics["mAP"] / clean, metrics["mINP"], *(ranks[k] for k in ("1", "5", "10"))]
    budget = total = spent = ""
    if result.threat:
        threat = Threat.from_dict(result.threat)
        if threat.eps_total < 1:  # what cameras and files do has no budget
            budget, total = threat.budgets, format_budget(threat.eps_total)
        spent = f"{result.spent['total'] * 255:.1f}/255"
    return (result.attack["name"], budget, total, spent, *(f"{100 * score:.1f}" for score in scores))


def _format(line: tuple[str, ...], widths: list[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(line[:2], widths, strict=False)]
    right = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
    return "  ".join(left + right).rstrip()
