"""A perturbation file as one of another kind, with what that one cannot hold said."""

from pathlib import Path

from torch.nn.functional import interpolate

from reid.attacks.files import load
from reid.attacks.formats import FORMATS, POINTS
from reid.attacks.formats.base import PARTS, Format
from reid.attacks.threat import format_budget
from reid.attacks.universal import TYPE_NAMES
from reid.attacks.universal.perturbations import Perturbation, create
from reid.errors import UsageError
from reid.runtime.files import sha256, write_atomically

Size = tuple[int | None, int | None]


def convert(
    path: str | Path,
    to: str,
    out: str | Path,
    *,
    eps: float | str | None = None,
    unit: str | None = None,
    points: int | None = None,
    size: Size = (None, None),
) -> str:
    """Write the perturbation in the file at `path` as `out`, whole or not at all: `to` is one of FORMATS.

    `eps` and `unit` are those of `load`. `points` is for "cube": how many along a side. To this `size` (height, width)
    the additive image is resized. Returns one line: what is in the file, what is not, and how to read it. Raises
    UsageError for what cannot be, and the errors of `load`.
    """
    form = FORMATS[to]
    noise = load(path, eps, unit)
    noise.provenance = noise.provenance or {"converted_from": Path(path).name, "sha256": sha256(path)}
    noise = _resized(noise, size)
    part = _part(noise, form, to)
    if points and (to != "cube" or points not in POINTS):
        raise UsageError(f"--points is for --to cube, and one of {', '.join(map(str, POINTS))}; leave it out")
    options = {"points": points} if points else {}
    held: list[str] = []
    write_atomically(out, lambda temporary: held.append(form.write(temporary, part, **options)))
    lost = _lost(noise, part, form)
    without = f"; not in it: {', '.join(lost)}" if lost else ""
    budget = "" if form.is_whole else f" --eps {format_budget(part.threat.eps_component)}"
    return f"{out} holds {held[0]}{without}; read it with --attack {out}{budget}"


def _part(noise: Perturbation, form: Format, to: str) -> Perturbation:
    """What the file can hold of a perturbation: the layer of one component, or all."""
    if form.component is None:
        return noise
    layers = {layer.component: layer for layer in noise.layers()}
    if form.component not in layers:
        has = f"noise type {noise.noise_type} ({TYPE_NAMES[noise.noise_type]}) has none"
        fitting = ", ".join(kind for kind in FORMATS if FORMATS[kind].component in (None, *layers))
        raise UsageError(f"{to} is a file of {PARTS[form.component]}, and {has}; it can be {fitting}")
    return layers[form.component]


def _lost(noise: Perturbation, part: Perturbation, form: Format) -> list[str]:
    if form.is_whole:
        return []
    parts = [PARTS[layer.component] for layer in noise.layers() if part is not noise and layer is not part]
    return [*parts, f"its threat ({noise.threat.label})", "how it was made"]


def _resized(noise: Perturbation, size: Size) -> Perturbation:
    """The perturbation with an additive image of this size: what it is to images that have it."""
    if size == (None, None):
        return noise
    names = [name for name, _ in noise.named_parameters() if name.endswith("delta")]
    if not names:
        raise UsageError("--height and --width are those of an additive image, which a colour table has not")
    state = noise.state_dict()
    delta = state[names[0]]
    height, width = (wanted or own for wanted, own in zip(size, delta.shape[2:], strict=True))
    state[names[0]] = interpolate(delta, (height, width), mode="bilinear", align_corners=True)
    threat = noise.threat
    resized = create(noise.noise_type, threat.eps_color, threat.eps_delta, height, width, threat.side)
    resized.load_state_dict(state)
    resized.provenance = noise.provenance
    return resized.project_()
