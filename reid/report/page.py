"""The page: the verdict on one or several models, and the evidence, as one HTML file that needs no other."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, TemplateError
from markupsafe import Markup

import reid
from reid.attacks.threat import format_budget
from reid.errors import ReidError
from reid.evaluation.goals import GOALS, ONE_FOR_ALL
from reid.report.album import Album
from reid.report.chapter import Chapter
from reid.report.evidence import Subject, model_names
from reid.report.galleries import galleries
from reid.runtime.files import write_atomically


def page(subjects: Sequence[Subject], title: str, note: str = "") -> str:
    """The page on some models, `note` on top of it. It holds what their results do, so equal results make equal pages.

    Raises ReidError for results, or pictures next to them, that are damaged.
    """
    try:
        album = Album()
        named = zip(subjects, model_names(subjects), strict=True)
        shown = [Chapter(subject, name, place, album) for place, (subject, name) in enumerate(named)]
        data = [each.data for each in shown]  # whose pictures come first: galleries take the room that is left
        values = {
            "title": title,
            "note": note,
            "shown": shown,
            "goals": [goal for goal in GOALS if any(goal in each.found for each in shown)],
            "words": GOALS,
            "one_for_all": ONE_FOR_ALL,
            "kinds": list(dict.fromkeys(row["kind"] for each in shown for row in each.rows)),
            "transfers": transfers(shown),
            "version": reid.__version__,
            "data": data,
            "galleries": galleries(shown, album),
        }
        return str(_template().render(values, pictures=album.rules()))  # all pictures are known by now
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, TemplateError) as error:
        problem = f"a result lacks what the page shows ({type(error).__name__}: {error})"
        raise ReidError(f"{problem}; evaluate again, without --reuse") from error


def write_page(path: Path, subjects: Sequence[Subject], title: str, note: str = "") -> None:
    """Write the page, whole or not at all."""
    text = page(subjects, title, note)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _template() -> Template:
    loader = PackageLoader("reid.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "budget": format_budget, "svg": Markup}
    environment.globals["file"] = lambda name: Markup(loader.get_source(environment, name)[0])
    return environment.get_template("page.html")


def percent(fraction: float) -> str:
    """One decimal, as all scores are shown."""
    return f"{100 * fraction:.1f}"


def transfers(shown: Sequence[Chapter]) -> dict[str, list[float | None]]:
    """The mAP that attacks made on one model left on each model shown; None where that was not tried."""
    matrices = [each.summary["transfer"] for each in shown]
    rows = sorted({(other, attack) for matrix in matrices for other, tried in matrix.items() for attack in tried})
    return {
        f"{attack} on {other}": [matrix.get(other, {}).get(attack) for matrix in matrices] for other, attack in rows
    }
