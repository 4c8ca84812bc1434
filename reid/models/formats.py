"""A model as a file of another kind, which is proven to give the same features before it is there."""

import io
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import safetensors.torch
import torch
from torch import Tensor, nn

from reid.errors import UsageError
from reid.models.checkpoint import family_of
from reid.models.families import readable
from reid.models.graphs.onnx_file import DISTANCE, INPUT
from reid.models.load import load_victim
from reid.models.modules import DISTANCE_FILE, INPUT_FILE
from reid.models.network import ReidModel
from reid.models.readings import OWN
from reid.models.sources import VARIANT, Size, Source, open_model
from reid.models.trial import SAME, drawn_images
from reid.models.victim import Victim
from reid.runtime.cli import WEIGHTS
from reid.runtime.extras import extra
from reid.runtime.files import temporary_sibling, write_atomically
from reid.runtime.registry import unknown
from reid.runtime.torchfiles import write_torch

OPSET = 17
Writer = Callable[[Source, Victim, Path], object]


def export(
    spec: str | Path,
    to: str,
    out: str | Path,
    *,
    preprocessing: str = OWN,
    size: Size = (None, None),
    weights: str | Path = WEIGHTS,
) -> str:
    """Write the model of `spec` (see `open_model`) as `out`: "onnx", "torchscript", "safetensors", or its family.

    `preprocessing`, `size` and `weights` are those of `load_victim`. How the model reads images is in the file, and in
    OUT.json. Returns one line: how near the features are, and how to load the file. Raises UsageError, with nothing
    written, where it cannot be done, or the file gives features that differ by more than SAME.
    """
    kinds = [*WRITERS, *readable()]
    if to not in kinds:
        raise unknown("kind of file", to, kinds)
    source = open_model(spec, weights)
    victim = source.victim(preprocessing, size)
    prefix = "torchscript:" if to == "torchscript" else ""
    with temporary_sibling(out) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, on what tracing and its age might do; the proof comes below
        again = _written(source, victim, to, temporary, prefix)
        gap = _difference(victim, again)
        if not gap <= SAME:
            problem = f"as {to} it gives features that differ by {gap:.0e} of the largest, above {SAME:.0e}"
            raise UsageError(f"{spec} was not exported: {problem}; give another --to")
        write_atomically(f"{out}.json", lambda path: path.write_text(f"{victim.input.to_json()}\n", encoding="utf-8"))
    gradients = "" if again.differentiable else ", but no gradients"
    found = f"{out} gives the features of {spec}{gradients}; they differ by {gap:.0e} of the largest"
    return f"{found}; load it with --resume {prefix}{out}; {out}.json has its input, as the file itself"


class Bare(nn.Module):
    """The network of a victim without its first layer: images that are prepared, to the features alone."""

    def __init__(self, victim: Victim) -> None:
        super().__init__()
        self.model, self.place = victim.model, victim.place or ()

    def forward(self, images: Tensor) -> Tensor:
        output = self.model.features(images) if isinstance(self.model, ReidModel) else self.model(images)
        for key in self.place:
            output = output[key]
        return output.flatten(1)


def _written(source: Source, victim: Victim, to: str, path: Path, prefix: str) -> Victim:
    """Write the file, and read it."""
    try:
        if to in WRITERS:
            WRITERS[to](source, victim, path)
        else:
            write_torch(path, _content(source, victim, to))
    except (UsageError, OSError):
        raise
    except Exception as error:  # whatever an operator that cannot be written raises
        raise _not_written(source, to, error) from error
    try:
        return load_victim(f"{prefix}{path}")
    except Exception as error:  # what was traced on two images may fit two images only
        raise _not_written(source, to, error) from error


def _not_written(source: Source, to: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())[:200]
    return UsageError(f"{source.spec} cannot be written as {to} ({reason}); give another --to")


def _difference(victim: Victim, again: Victim) -> float:
    """The largest difference of features of drawn images, relative to the largest feature."""
    images = drawn_images(*victim.input.size)
    with torch.no_grad():
        expected, actual = victim(images), again(images)
    if actual.shape != expected.shape:
        return torch.inf
    return float((expected - actual).abs().max() / expected.abs().max())


def _traced(victim: Victim) -> tuple[nn.Module, Tensor]:
    """The network, and two prepared images to trace it with."""
    if not victim.differentiable:
        problem = f"{victim.name or victim.arch} gives scores only, without the operators that made them"
        raise UsageError(f"{problem}; export the model that it was made from")
    images = drawn_images(*victim.input.size)[:2]
    victim(images)  # chooses the output
    return Bare(victim).eval(), victim.layer(images)


def _write_onnx(source: Source, victim: Victim, path: Path) -> None:
    onnx = extra("onnx", "an ONNX file")
    network, images = _traced(victim)
    free = {0: "batch"} if victim.input.resize else {0: "batch", 2: "height", 3: "width"}
    written = io.BytesIO()
    with mock.patch.object(torch._C, "_jit_onnx_log", create=True):  # prints the whole network where it fails
        torch.onnx.export(
            network,
            (images,),
            written,  # type: ignore[arg-type]  # the exporter without dynamo takes files too
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": free, "features": {0: "batch"}},
        )
    model = onnx.load_from_string(written.getvalue())
    onnx.helper.set_model_props(model, {INPUT: victim.input.to_json(), DISTANCE: source.distance})
    path.write_bytes(model.SerializeToString())


def _write_torchscript(source: Source, victim: Victim, path: Path) -> None:
    with torch.no_grad():
        traced = torch.jit.trace(*_traced(victim), check_trace=False)
    said = {INPUT_FILE: victim.input.to_json(), DISTANCE_FILE: source.distance}
    torch.jit.save(traced, str(path), _extra_files=said)


def _write_safetensors(source: Source, victim: Victim, path: Path) -> None:
    content = _content(source, victim)
    tensors = {
        key: value.clone(memory_format=torch.contiguous_format) for key, value in content.pop("state_dict").items()
    }
    path.write_bytes(safetensors.torch.save(tensors, {key: json.dumps(value) for key, value in content.items()}))


def _content(source: Source, victim: Victim, family: str | None = None) -> dict[str, Any]:
    """What a checkpoint of the same family holds. Raises UsageError for a model of another one, or of none."""
    if source.checkpoint is None:
        problem = "is no checkpoint, and its weights alone do not tell what network they are for"
        raise UsageError(f"{source.spec} {problem}; give --to onnx or --to torchscript")
    state = source.checkpoint.state
    if family not in (None, own := family_of(state)):
        raise UsageError(f"{source.spec} has the keys of the family {own}, not {family}; give --to {own}")
    trained = dict(zip(("height", "width"), victim.input.size, strict=True)) if source.trained else {}
    return {"state_dict": state, INPUT: asdict(victim.input), VARIANT: source.parts(victim.reading)[2], **trained}


WRITERS: dict[str, Writer] = {
    "onnx": _write_onnx,
    "torchscript": _write_torchscript,
    "safetensors": _write_safetensors,
}
