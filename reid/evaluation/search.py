"""The search for a perturbation: its best iterate, when steps get shorter, when it ends, and whether it converged."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

HALVINGS = 5  # of the step; a search ends when it would be halved once more
IMPROVEMENT = 0.005  # mAP that an epoch gains at least, or the step is halved
DOUBLING = 0.02  # mAP that twice the steps may gain in a search that has converged
SPREAD = 0.05  # mAP by which it may be above the best of several starts


@dataclass
class Best:
    """The iterate with the lowest mAP so far, the start too, and how often the step is to be halved.

    `scores` are the mAP of images that are not learnt on: at the start, then after each epoch.
    """

    scores: list[float] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)
    halvings: int = 0

    def offer(self, score: float, state: dict[str, Tensor]) -> bool:
        """Take a copy of the state if no mAP so far is lower. Says whether to go on as before; if not, the search is to
        go on from the best state with half the step."""
        lowest = min(self.scores, default=torch.inf)
        if score <= lowest:
            self.state = {name: value.clone() for name, value in state.items()}
        self.scores.append(score)
        goes_on = score <= lowest - IMPROVEMENT
        self.halvings += not goes_on
        return goes_on

    @property
    def lowest(self) -> float:
        return min(self.scores)

    @property
    def epoch(self) -> int:
        """After which epoch (from 1; 0 is the start) the state is that of the lowest mAP."""
        return len(self.scores) - 1 - self.scores[::-1].index(self.lowest)

    @property
    def is_final(self) -> bool:
        """Whether shorter steps would be too short."""
        return self.halvings > HALVINGS


def gained(scores: Sequence[float]) -> float:
    """By how much the second half of a search lowered the mAP. A loss that stands still says nothing of the kind."""
    return min(scores[: (len(scores) + 1) // 2]) - min(scores)


def has_converged(scores: Sequence[float], lowest: float) -> bool:
    """Whether twice the steps gained little, and the search ended near the `lowest` mAP of all starts."""
    return gained(scores) < DOUBLING and min(scores) < lowest + SPREAD


def told(scores: Sequence[float]) -> str:
    """A search in words, mAP in %."""
    epochs = len(scores) - 1
    return f"{100 * min(scores):.1f} after {epochs} epochs, the second half of which gained {100 * gained(scores):.1f}"
