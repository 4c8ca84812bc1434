"""Tables: of results for the terminal, and of any cells in Markdown."""

from collections.abc import Iterable, Sequence

from reid.attacks import Threat
from reid.evaluation.results import Result

HEADER = ("attacker", "budget, L-inf", "spent", "mAP", "of clean", "mINP", "rank-1", "rank-5", "rank-10")


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
    budget = spent = ""
    if result.threat:
        budget = Threat.from_dict(result.threat).label.partition(",")[0]
        spent = f"{result.spent['total'] * 255:.1f}/255"
    return (result.attacker["name"], budget, spent, *(f"{100 * score:.1f}" for score in scores))


def _format(line: tuple[str, ...], widths: list[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(line[:2], widths, strict=False)]
    right = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
    return "  ".join(left + right).rstrip()


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first of the lines is its head."""
    head, *body = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])
