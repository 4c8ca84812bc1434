"""Budgets: how far an attack may change an image, as a number in [0, 1], the unit of images, written 8/255."""

from reid.errors import UsageError, few


def parse_budget(budget: str | float) -> float:
    """A budget "8/255", "0.03" or 8/255 as a number in [0, 1]. Raises UsageError for anything else."""
    numerator, _, denominator = str(budget).partition("/")
    written = few([budget])
    try:
        value = float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"budget {written!r} is not a number: write it as 8/255 or 0.03") from error
    if value < 0:
        raise UsageError(f"budget {written}: budgets are not negative; write it as 8/255 or 0.03")
    if not value <= 1:
        hint = f"; did you mean {written}/255?" if 1 < value <= 255 else ""
        raise UsageError(f"budget {written} is not in [0, 1], the range of images{hint}")
    return value


def format_budget(budget: float) -> str:
    """A budget as the field writes it: 8/255, or 7.65/255 where it is no whole number of grey levels."""
    return f"{round(budget * 255, 4):g}/255"
