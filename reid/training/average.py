"""The average of a model over the steps of its training: what is validated, kept and saved in its place."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """After each step `decay` of the average so far and the rest of the model, running statistics included; counts are
    the model's. With a decay of 0 it is the model itself."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self.decay = model, decay
        self._state = self._copy() if decay else {}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model as it now is."""
        live = self._model.state_dict()
        for name, value in self._state.items():
            if value.is_floating_point():
                value.lerp_(live[name], 1 - self.decay)
            else:
                value.copy_(live[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model is its average; afterwards what it was, to the bit."""
        if not self.decay:
            yield
            return
        live = self._copy()
        self._model.load_state_dict(self._state)
        try:
            yield
        finally:
            self._model.load_state_dict(live)

    def state_dict(self) -> dict[str, Tensor]:
        return self._state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` gave. Raises KeyError where a tensor is missing."""
        for name, value in self._state.items():
            value.copy_(state[name])

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self._model.state_dict().items()}
