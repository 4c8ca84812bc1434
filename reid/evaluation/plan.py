"""The rows of a suite, one after the other: what was found so far says what is still worth an attack."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

from reid.attacks.folders import size_of
from reid.attacks.image.linf import LInf
from reid.attacks.search.square import Square
from reid.attacks.specs import create
from reid.attacks.threat import Threat
from reid.attacks.transfer import Transferred
from reid.attacks.universal import RECIPES
from reid.attacks.universal.perturbations import Perturbation
from reid.errors import UsageError
from reid.evaluation.convergence import LENGTHS
from reid.evaluation.goals import goal_of
from reid.evaluation.kinds import TRANSFER, UNIVERSAL
from reid.evaluation.relearning import Relearning
from reid.evaluation.retrieval import Retrieval
from reid.evaluation.rows import Row, image_row, image_rows
from reid.evaluation.starts import WarmStart
from reid.evaluation.suites import Each, Suite, Universal
from reid.evaluation.verdict import Judgement
from reid.models.load import load_victim
from reid.models.network import ReidModel
from reid.models.victim import Victim
from reid.runtime.cli import WEIGHTS
from reid.runtime.progress import Loop, progress, stage

logger = logging.getLogger(__name__)

TENTH = 0.1  # of the queries, on which an attack is tried with more steps


class Surrogate(NamedTuple):
    """Another model: its name, the retrieval by it on the same images, and what learns perturbations on it."""

    name: str
    retrieval: Retrieval
    relearning: Relearning | None


@dataclass
class Plan:
    """A suite on a model. `threats` are (noise type, threat) as the user says them, `side` the one that is attacked
    where an entry has none, `pgd_steps` those of pgd without any. `relearning` is there if the suite has recipes,
    `given` are perturbation files that it may start from, `counts` how many queries and gallery images there are."""

    suite: Suite
    threats: Sequence[tuple[int, Threat]]
    judgement: Judgement
    seed: int
    side: str = "query"
    pgd_steps: int = 15
    relearning: Relearning | None = None
    surrogates: Sequence[Surrogate] = ()
    given: list[Row] = field(default_factory=list)
    counts: tuple[int, int] = (1, 1)

    def rows(self, reuse: bool, first: Sequence[Row] = (), last: Sequence[Row] = ()) -> Iterator[Row]:
        """`first`, such as clean images and files, then the attacks of the suite, and `last`, such as controls: to be
        measured and judged in turn. `reuse` takes perturbations that were learnt before."""
        queries, gallery = self.counts
        jobs = self._jobs(reuse)
        parts = [
            *((row.name, queries + gallery * (row.attack is None), [row]) for row in first),
            ("", sum(size for _, size, _ in jobs), _in_turn(jobs)),
            *((row.name, queries, [row]) for row in last),
        ]
        for _, _, rows in _weighed(parts, ""):
            yield from rows

    def _jobs(self, reuse: bool) -> list["Job"]:
        suite, others, learning = self.suite, self.surrogates, self._learning()
        frozen, transfer = others if suite.frozen else (), suite.transfer if others else ()
        return [
            *((f"{suite.frozen} on {each.name}", learning, self._frozen(each, reuse)) for each in frozen),
            *((each.recipe, learning, self._universal(each, reuse)) for each in suite.universal),
            *((each.spec, self._work(each), self._each(each)) for each in suite.each),
            *((spec, len(others) * self._work(Each(spec)), self._transferred(spec)) for spec in transfer),
        ]

    def _frozen(self, surrogate: Surrogate, reuse: bool) -> Iterator[Row]:
        """Perturbations that were learnt on another model, which later ones may start from."""
        if self.suite.frozen is None or surrogate.relearning is None:
            return
        threats = learnable(Universal(self.suite.frozen), self.threats, "query")
        for row in surrogate.relearning.rows([self.suite.frozen], threats, reuse):
            row = replace(row, name=f"{row.name}, learnt on {surrogate.name}", kind=UNIVERSAL, side="query")
            self.given.append(row)
            yield row

    def _universal(self, entry: Universal, reuse: bool) -> Iterator[Row]:
        assert self.relearning is not None
        side = entry.side or self.side
        warm = starts_of(self.given, self.relearning) if entry.warm else []
        for row in self.relearning.rows([entry.recipe], learnable(entry, self.threats, side), reuse, warm):
            more = {"equal_total": True} if entry.alone else {}
            yield replace(row, name=f"{row.name}{_on(side)}", settings=row.settings | more, side=side)

    def _each(self, entry: Each) -> Iterator[Row]:
        side = entry.side or self.side
        threats = [(noise_type, _scaled(threat, entry.scale, side)) for noise_type, threat in self.threats]
        rows = image_rows([entry.spec], threats, self.pgd_steps, self.seed)
        for row in progress(rows, len(rows), ""):
            attack, name = row.attack, row.settings["attack"]
            assert isinstance(attack, LInf | Square)
            queries = self._asking(entry, attack)
            if queries == ():
                logger.info("%s: nothing stands any more", row.name)
                continue
            with stage(1 / _longer(entry)):
                yield _among(row, side, queries)
            key = next(key for key in LENGTHS if hasattr(attack, key))
            for factor in progress(entry.longer, len(entry.longer), "", sizes=entry.longer):
                longer = image_row(name, replace(attack, **{key: factor * getattr(attack, key)}), self.seed)
                yield _among(longer, side, self.judgement.some(TENTH, self.seed))

    def _asking(self, entry: Each, attack: LInf | Square) -> tuple[int, ...] | None:
        """The queries to attack; None: all."""
        goal = goal_of(attack.kind, entry.side or self.side, attack.needs)
        if entry.standing and goal:
            return self.judgement.standing(goal, attack.eps)
        return self.judgement.some(entry.share, self.seed) if entry.share < 1 else None

    def _transferred(self, spec: str) -> Iterator[Row]:
        pairs = list(product(self.surrogates, image_rows([spec], self.threats, self.pgd_steps, self.seed)))
        for surrogate, row in progress(pairs, len(pairs), ""):
            assert row.attack is not None
            seen = surrogate.retrieval.known_to(row.attack, "query")
            attack = Transferred(row.attack, surrogate.retrieval.victim, seen)
            other = attack.surrogate
            known = {"surrogate": surrogate.name, "surrogate_sha256": other.sha256, "fingerprint": other.fingerprint}
            name = f"{row.name}, made on {surrogate.name}"
            yield Row(name, TRANSFER, attack, settings=row.settings | known, side="query")

    def _learning(self) -> float:
        """About how many images go through the model while a universal perturbation is learnt."""
        return 3 * self.relearning.effort.restarts * self.relearning.images_seen if self.relearning else 0

    def _work(self, entry: Each) -> float:
        """About how many images go through the model in an attack on each image; a backward pass counts as two."""
        attack, side = create(entry.spec), entry.side or self.side
        queries, gallery = self.counts
        images = queries * entry.share * (side != "gallery") + gallery * (side != "query")
        each = attack.calls if isinstance(attack, Square) else 3 * attack.steps * attack.restarts
        return images * each * _longer(entry)


Job = tuple[str, float, Iterable[Row]]  # its name, about how many images go through the model, and its rows


def _weighed(jobs: Sequence[Job], words: str) -> Loop[Job]:
    names, sizes = [name for name, _, _ in jobs], [size for _, size, _ in jobs]
    return progress(jobs, len(jobs), words, sizes=sizes, names=names)


def _in_turn(jobs: Sequence[Job]) -> Iterator[Row]:
    attacks = _weighed(jobs, "attack")
    for name, _, rows in attacks:
        logger.info("attack %s: %s", attacks.position(), name)
        yield from rows


def _longer(entry: Each) -> float:
    """The work of an attack and of those with more steps, in times of its own."""
    return 1 + TENTH * sum(entry.longer)


def learnable(entry: Universal, threats: Sequence[tuple[int, Threat]], side: str) -> list[tuple[int, Threat]]:
    """(noise type, threat) of the perturbations to learn, once. One component alone has the total of both: 16/255 for
    8 + 8."""
    scaled = [(noise_type, _scaled(threat, entry.scale, side)) for noise_type, threat in threats]
    totals = [threat.eps_total for _, threat in scaled if len(threat.components) > 1]
    if entry.alone == "delta":
        scaled = [(2, Threat(0.0, total, side)) for total in totals]
    elif entry.alone:
        scaled = [(1, Threat(total, 0.0, side)) for total in totals]
    return list(dict.fromkeys(scaled))


def knows_training(suite: Suite, threats: Sequence[tuple[int, Threat]], pgd_steps: int, seed: int) -> bool:
    """Whether attacks of a suite know training images. Raises UsageError for a spec of an attack that cannot be."""
    specs = [*(entry.spec for entry in suite.each), *suite.transfer]
    rows = image_rows(specs, threats, pgd_steps, seed)
    return bool(suite.universal) or any("training" in row.attack.needs for row in rows if row.attack)


def possible(suite: Suite, victim: Victim) -> Suite:
    """What the model allows of a suite that judges; whoever names attacks is told that they cannot be. Without
    gradients, attacks that are made on other models stay."""
    if victim.differentiable or not suite.judges:
        return suite
    universal = tuple(entry for entry in suite.universal if not RECIPES[entry.recipe].needs_gradients)
    each = tuple(entry for entry in suite.each if "gradients" not in create(entry.spec).needs)
    left_out = [entry.recipe for entry in suite.universal if entry not in universal]
    left_out += [entry.spec for entry in suite.each if entry not in each]
    logger.info("the model gives no gradients; left out is what needs them: %s", ", ".join(dict.fromkeys(left_out)))
    return replace(suite, universal=universal, each=each)


def surrogates_of(
    specs: Sequence[str], retrieval: Retrieval, relearning: Relearning | None, weights: str = WEIGHTS
) -> list[Surrogate]:
    """Other models, on the images of a retrieval; what is learnt on them is learnt as on its own model. Raises what
    `load_victim` does, and UsageError for the model itself, and for one without gradients or for other images."""
    found = []
    size = retrieval.query.height, retrieval.query.width
    for spec in dict.fromkeys(specs):
        victim = load_victim(spec, size=size, weights=weights).to(retrieval.compute.device)
        if victim.sha256 == retrieval.victim.sha256:
            raise UsageError(f"--transfer-from {spec} is the model itself; give other ones")
        if not victim.differentiable:
            raise UsageError(f"--transfer-from {spec} gives no gradients to make attacks with; leave it out")
        if victim.input.resize is None and victim.input.size != size and not isinstance(victim.model, ReidModel):
            height, width = victim.input.size
            raise UsageError(f"--transfer-from {spec} takes {height} x {width} images only; give --height and --width")
        learner = relearning and replace(relearning, victim=victim, effort=replace(relearning.effort, warm_start=()))
        found.append(Surrogate("/".join(Path(spec).parts[-2:]), retrieval.by(victim), learner))
    return found


def starts_of(rows: Sequence[Row], relearning: Relearning) -> list[WarmStart]:
    """The perturbations among rows of files that have the size of the images, and that the model was not trained on."""
    images, met = relearning.images, relearning.victim.met
    return [
        WarmStart(row.attack, row.sha256)
        for row in {row.sha256: row for row in rows}.values()
        if isinstance(row.attack, Perturbation)
        and row.sha256
        and row.sha256 not in met
        and size_of(row.attack) in (None, (images.height, images.width))
    ]


def _scaled(threat: Threat, scale: float, side: str) -> Threat:
    return Threat(min(1.0, scale * threat.eps_color), min(1.0, scale * threat.eps_delta), side)


def _on(side: str) -> str:
    return {"query": "", "gallery": ", gallery side", "both": ", both sides"}[side]


def _among(row: Row, side: str, queries: tuple[int, ...] | None) -> Row:
    """The row on a side, and for some queries, which its name says."""
    some = "" if queries is None else f", {len(queries)} queries"
    return replace(row, name=f"{row.name}{_on(side)}{some}", side=side, queries=queries)
