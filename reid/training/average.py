"""What is validated, kept and saved in place of a model: its average over training, mixed with its start."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """After each step `decay` of the average so far and the rest of the model, running statistics included; counts are
    those of the model. With a decay of 0 it is the model itself. In its place goes `start_share` times the first model
    plus 1 - `start_share` times that average (Wortsman et al., CVPR 2022)."""

    def __init__(self, model: nn.Module, decay: float, start_share: float = 0.0) -> None:
        self._model, self.decay, self._share = model, decay, start_share
        self._state = self._copy() if decay else {}
        start = self._copy() if start_share else {}
        self._start = {name: value for name, value in start.items() if value.is_floating_point()}

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
        """Inside, the model is its average, mixed with its start; afterwards what it was, to the bit."""
        if not self.decay and not self._share:
            yield
            return
        live = self._copy()
        trained = self._state or live
        mixed = {name: trained[name].lerp(start, self._share) for name, start in self._start.items()}
        self._model.load_state_dict(trained | mixed)
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
