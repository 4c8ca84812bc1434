"""What the suites that judge are made of, what attackers know and may change, and all flags, as tables in Markdown.

    python -m reid.report.suites

docs/suite.md shows what this prints. Suites of --plugin are in the tables, too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from reid.attacks.specs import create
from reid.attacks.threat import format_budget
from reid.evaluation.flags import FLAGS
from reid.evaluation.goals import ALSO, GOALS
from reid.evaluation.suites import SUITES, Each, Suite, Universal
from reid.runtime import cli
from reid.runtime.markdown import markdown

SIDES = {None: "as --side", "query": "queries", "gallery": "gallery", "both": "both"}
KNOWN = {"training": "training images", "reference": "the other side", "scores": "scores alone"}
EPS = 8 / 255


def main(argv: Sequence[str] | None = None) -> None:
    cli.OneLineParser(__doc__, argv, prog="python -m reid.report.suites").parse_args(argv)
    print(tables())


def tables() -> str:
    """The suites, their universal attacks, those on each image, all goals, and all flags."""
    suites = {name: SUITES[name] for name in SUITES if SUITES[name].judges}
    goals = [(f"`{goal}`", text, ", ".join(f"`{less}`" for less in ALSO.get(goal, ()))) for goal, text in GOALS.items()]
    return "\n\n".join(
        markdown(lines)
        for lines in (
            [("suite", "what is in it"), *((f"`{name}`", SUITES.summary(name)) for name in suites)],
            [("recipe", "side", "budget at 8/255", *suites), *_compared(suites, _universal)],
            [("attack", "side", "budget at 8/255", "knows", *suites), *_compared(suites, _each)],
            [("goal", "what is changed, and what is known", "attacks of these count too"), *goals],
            [("flag", "raised when", "means", "do"), *((f.name, f.when, f.means, f.remedy) for f in FLAGS)],
        )
    )


Entries = Iterator[tuple[tuple[str, ...], str]]  # of a suite: what each attack is, and how hard it tries


def _compared(suites: Mapping[str, Suite], entries: Callable[[Suite], Entries]) -> list[tuple[str, ...]]:
    """A line for each attack of any of the suites, with how hard each of them tries."""
    found = {name: dict(entries(suite)) for name, suite in suites.items()}
    attacks = dict.fromkeys(attack for tried in found.values() for attack in tried)
    return [(*attack, *(tried.get(attack, "") for tried in found.values())) for attack in attacks]


def _universal(suite: Suite) -> Entries:
    starts = f"{suite.effort.get('restarts', 1)} x {suite.effort.get('adaptive_epochs')} epochs"
    if suite.frozen:
        yield (f"`{suite.frozen}`", "queries, learnt on other models", "8 + 8"), starts
    for entry in suite.universal:
        yield (f"`{entry.recipe}`", SIDES[entry.side], _budget(entry)), starts + ", given files" * entry.warm


def _budget(entry: Universal) -> str:
    levels = 8 * entry.scale
    return f"{entry.alone} {2 * levels:g}" if entry.alone else f"{levels:g} + {levels:g}"


def _each(suite: Suite) -> Entries:
    for entry in suite.each:
        attack = create(entry.spec, eps=min(1.0, entry.scale * EPS))
        knows = ", ".join(words for need, words in KNOWN.items() if need in attack.needs) or "the model alone"
        yield (_name(entry.spec), SIDES[entry.side], format_budget(attack.eps), knows), _effort(entry, attack.effort)
    for spec in suite.transfer:
        attack = create(spec)
        yield (_name(spec), "queries, on other models", format_budget(attack.eps), "the other model"), attack.effort


def _name(spec: str) -> str:
    return f"`{spec.partition(':')[0]}`"


def _effort(entry: Each, effort: str) -> str:
    share = f"{100 * entry.share:g} %" if entry.share < 1 else ""
    longer = f"{' and '.join(f'{factor}x' for factor in entry.longer)} on a tenth" if entry.longer else ""
    return "; ".join(filter(None, [effort, share, "what stands" * entry.standing, longer]))


if __name__ == "__main__":
    cli.run(main)
