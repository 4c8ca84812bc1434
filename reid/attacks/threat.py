"""The threat: the components of a perturbation, how far each may go, and the side of retrieval attacked."""

from dataclasses import asdict, dataclass
from typing import Any

from reid.errors import UsageError
from reid.runtime.budgets import format_budget, parse_budget

__all__ = ["SIDES", "Threat", "format_budget", "parse_budget"]

SIDES = ("query", "gallery", "both")


@dataclass(frozen=True)
class Threat:
    """What an attacker may do to an image: L-inf budgets per component, in [0, 1], and the side attacked.

    eps_color bounds the change of each entry of the colour table, eps_delta each value of the additive image;
    with 0 a component changes nothing. They act one after the other, so a pixel may move by their sum,
    `eps_total`.
    Raises UsageError for a budget outside [0, 1] or an unknown side.
    """

    eps_color: float
    eps_delta: float
    side: str = "query"

    def __post_init__(self) -> None:
        for name in ("eps_color", "eps_delta"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise UsageError(f"{name} {value!r} is not a number in [0, 1], the range of images")
            object.__setattr__(self, name, float(value))
        if self.side not in SIDES:
            raise UsageError(f"side {self.side!r} is not one of {', '.join(SIDES)}")

    @property
    def eps_total(self) -> float:
        """The largest change of a pixel, in [0, 1]."""
        return min(1.0, self.eps_color + self.eps_delta)

    @property
    def eps_component(self) -> float:
        """The largest budget of a component, in [0, 1]."""
        return max(self.eps_color, self.eps_delta)

    @property
    def components(self) -> tuple[str, ...]:
        """The components that may change an image, in the order in which they act."""
        return tuple(name for name in ("color", "delta") if getattr(self, f"eps_{name}") > 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for attacker files and result records."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Threat":
        """The inverse of `to_dict`. Raises UsageError when a field is missing, unknown or out of range."""
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError(f"{values!r} is not a threat: it needs eps_color, eps_delta and side") from error

    @property
    def budgets(self) -> str:
        """The budget of each component, as in "colour 8/255 + delta 8/255"."""
        words = {"color": "colour", "delta": "delta"}
        parts = [f"{words[name]} {format_budget(getattr(self, f'eps_{name}'))}" for name in self.components]
        return " + ".join(parts) or "no change"

    @property
    def label(self) -> str:
        """In words, as in "colour 8/255 + delta 8/255 (total 16/255), query side"."""
        total = f" (total {format_budget(self.eps_total)})" if len(self.components) > 1 else ""
        return f"{self.budgets}{total}, {'both sides' if self.side == 'both' else f'{self.side} side'}"
