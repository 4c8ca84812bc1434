"""What `evaluate.py` runs: clean, the given attackers, and random controls at the same budget; one Result each."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reid.attacks import Attack, Perturbation, Threat, controls, format_budget
from reid.datasets import Dataset
from reid.evaluation import results
from reid.evaluation.features import beyond
from reid.evaluation.protocol import Protocol, fingerprint
from reid.evaluation.results import Result
from reid.runtime import distributed

CLEAN = "clean"
RANDOM_SIGN, RANDOM_LUT, RANDOM_BOTH = "random sign", "random LUT", "random both"


@dataclass(frozen=True)
class Attacker:
    """A named attack (None: clean images) and the hash of the file that it came from, if any."""

    name: str
    noise: Attack | None = None
    sha256: str | None = None

    @property
    def provenance(self) -> dict[str, Any]:
        """What the file says about how the attack was made."""
        return self.noise.provenance if isinstance(self.noise, Perturbation) else {}


def control_attackers(threat: Threat, seed: int, height: int, width: int) -> list[Attacker]:
    """Random perturbations at the border of a budget: what spending it without learning does."""
    budgets = dict.fromkeys(f"{round(eps * 255, 4):g}" for eps in (threat.eps_color, threat.eps_delta))
    label = "+".join(budgets)
    return [
        Attacker(f"{RANDOM_SIGN} {label}", controls.random_sign(threat, seed, height, width)),
        Attacker(f"{RANDOM_LUT} {label}", controls.random_lut(threat, seed)),
        Attacker(f"{RANDOM_BOTH} {label}", controls.random_both(threat, seed, height, width)),
    ]


@dataclass(frozen=True)
class Suite:
    """One victim on one dataset: everything that its results share."""

    protocol: Protocol
    dataset: Dataset
    victim: dict[str, Any]
    settings: dict[str, Any]
    side: str
    seed: int
    command: str
    folder: Path

    def run(self, attackers: list[Attacker], reuse: bool) -> Iterator[Result]:
        """Score each attacker, write its Result into `folder`, and give it; `reuse` takes what is there already.

        Of several processes rank 0 reads and writes; all give the results.
        Raises ReidError when a perturbation goes beyond its budget on the scored images.
        """
        for attacker in attackers:
            identity = self._identity(attacker)
            known = distributed.from_main(partial(self._known, identity)) if reuse else None
            yield known or self._scored(attacker, identity)

    def _known(self, identity: dict[str, Any]) -> Result | None:
        path = self.folder / results.file_name(**identity)
        return results.read_result(path) if path.exists() else None

    def _scored(self, attacker: Attacker, identity: dict[str, Any]) -> Result:
        began = time.perf_counter()
        score = self.protocol.score(attacker.noise, self.side)
        result = Result(
            **identity,
            metrics=results.metrics_of(score.ranking),
            spent=score.spent,
            checks=_checks(attacker, score.spent, identity["threat"]),
            versions=results.versions(),
            command=self.command,
            seconds=time.perf_counter() - began,
        )
        distributed.from_main(lambda: results.write_result(self.folder, result))
        return result

    def _identity(self, attacker: Attacker) -> dict[str, Any]:
        noise = attacker.noise
        query, gallery = self.protocol.query.samples, self.protocol.gallery.samples
        return {
            "victim": self.victim,
            "attacker": {
                "name": attacker.name,
                "noise_type": None if noise is None else noise.noise_type,
                "sha256": attacker.sha256,
                "learnt_on": attacker.provenance.get("victim_sha256"),
            },
            "dataset": {
                "name": self.dataset.name,
                "split": self.dataset.split,
                "num_query": len(query),
                "num_gallery": len(gallery),
                "fingerprint": fingerprint(query, gallery),
            },
            "threat": {} if noise is None else noise.threat.to_dict() | {"side": self.side},
            "protocol": self.settings,
            "seed": self.seed,
        }


def _checks(attacker: Attacker, spent: dict[str, float], threat: dict[str, Any]) -> list[dict[str, Any]]:
    """What is known against the score of an attack: that it left its budget, or that it had not finished learning.

    `extract` has refused to go on with images beyond the budget.
    """
    if attacker.noise is None:
        return []
    allowed = Threat.from_dict(threat)
    found = ", ".join(f"{name} {format_budget(value)}" for name, value in spent.items())
    detail = f"spent on the scored images: {found}; allowed: {allowed.label}"
    checks = [{"name": "budget", "passed": not beyond(spent, allowed), "detail": detail}]
    if "converged" in attacker.provenance:
        losses = attacker.provenance["losses"]
        detail = f"loss {losses[-1]:.3f} after {len(losses)} epochs, lowest {min(losses):.3f}"
        checks.append({"name": "converged", "passed": bool(attacker.provenance["converged"]), "detail": detail})
    return checks
