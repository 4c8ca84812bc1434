"""A trained network as a file of the kind that it came in, which is proven to give its features before it is there."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reid.errors import UsageError
from reid.models.adopted import REMEDY, Adopted, victim_of
from reid.models.checkpoint import family_of, load_checkpoint, save_checkpoint
from reid.models.drawn import drawn_images
from reid.models.families import FAMILIES
from reid.models.formats import VARIANT
from reid.models.graphs import InBatches
from reid.models.graphs.onnx_file import DISTANCE, INPUT, WeightsOfOnnx, run_onnx
from reid.models.sources import Source, open_model
from reid.models.trial import SAME
from reid.models.victim import Victim
from reid.runtime.files import sha256, temporary_sibling, write_atomically
from reid.runtime.torchfiles import write_torch

KINDS = ("checkpoint", "onnx", "timm", "function")  # that can be written back


class Returned:
    """How a model of ours is kept: as a checkpoint. `suffix` is that of its file."""

    suffix = ".pth"

    def write(self, path: Path, model: Any, **metadata: Any) -> None:
        """Write a model with what is to be known of it, whole or not at all."""
        save_checkpoint(path, model, **metadata)

    def read(self, path: Path, model: Any) -> None:
        """Give a model the weights in a file that `write` wrote."""
        load_checkpoint(model, path)

    def spec(self, path: Path) -> str:
        """What names the model in a file, for --resume."""
        return str(path)

    def sha256(self, path: Path) -> str:
        """Hash of the model in a file, as results have it."""
        return sha256(path)

    def rehearse(self, model: Any) -> None:
        """Write a model somewhere and forget it: raises what `write` would raise after the training."""


class ReturnedOther(Returned):
    """How an adopted model is kept: as what `source` is, next to FILE.json with how it reads images.

    ONNX stays the graph that it was, with other weights; a checkpoint has the keys of its file, with the head of its
    authors as it was; timm and a function get a state dict. Raises UsageError for any other kind of source.
    """

    def __init__(self, source: Source, victim: Victim) -> None:
        self._kind, self._place = source.opened
        self._source, self._variant = source, source.parts(victim.reading)[2]
        if self._kind == "onnx":
            self.suffix, self._onnx = ".onnx", WeightsOfOnnx(self._place)
        elif self._kind == "checkpoint":
            self._keys = _keys(source, self._variant)
        elif self._kind not in KINDS:
            raise UsageError(f"{source.spec} ({self._kind}) cannot be defended; {REMEDY}")

    def write(self, path: Path, model: Adopted, **metadata: Any) -> None:
        """As `Returned.write`. Raises UsageError, with nothing written, where the file gives features that differ by
        more than SAME of the largest; of ONNX, in onnxruntime."""
        network, spec = _bare(model.base), model.input
        write_atomically(f"{path}.json", lambda file: file.write_text(f"{spec.to_json()}\n", encoding="utf-8"))
        with temporary_sibling(path) as temporary:
            if self._kind == "onnx":
                said = {INPUT: spec.to_json(), DISTANCE: self._source.distance}
                self._onnx.write(network, temporary, **said)
            else:
                write_torch(temporary, self._content(network, model) | metadata)
            with _quiet():
                gap = self._gap(temporary, path, model)
            if not gap <= SAME:
                problem = f"written back it gives features that differ by {gap:.0e} of the largest, above {SAME:.0e}"
                raise UsageError(f"{self._source.spec} cannot be defended as what it is: {problem}; {REMEDY}")

    def read(self, path: Path, model: Adopted) -> None:
        with _quiet():
            state = _bare(open_model(self.spec(path)).build(self._variant)).state_dict()
        _bare(model.base).load_state_dict(state)

    def spec(self, path: Path) -> str:
        name, function = (":".join([*self._place.split(":")[:parts], ""]) for parts in (1, 2))  # whatever file follows
        prefix = {"timm": f"timm:{name}", "function": function}
        return f"{prefix.get(self._kind, '')}{path}"

    def sha256(self, path: Path) -> str:
        with _quiet():
            return open_model(self.spec(path)).sha256

    def rehearse(self, model: Adopted) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.write(Path(folder, f"model{self.suffix}"), model)

    def _content(self, network: nn.Module, model: Adopted) -> dict[str, Any]:
        trained = {key: value.detach().cpu() for key, value in network.state_dict().items()}
        if self._kind != "checkpoint":
            return {"state_dict": trained}
        assert self._source.checkpoint is not None
        state = self._source.checkpoint.state | {key: trained[name] for name, key in self._keys.items()}
        return {"state_dict": state, INPUT: asdict(model.input), VARIANT: self._variant}

    def _gap(self, file: Path, path: Path, model: Adopted) -> float:
        """The largest difference between the features of the model and of its file, relative to the largest feature."""
        victim = victim_of(model).cpu()
        again = open_model(self.spec(file)).candidate(f"{path}.json/{self._variant}".removesuffix("/"))
        images = drawn_images(*victim.input.size)
        with torch.no_grad():
            expected, found = victim(images), [again(images)]
            if self._kind == "onnx":
                outputs: list[Tensor] = run_onnx(file)(victim.layer(images))
                found.append(outputs[victim.place[0] if victim.place else 0].flatten(1))
        if any(each.shape != expected.shape for each in found):
            return torch.inf
        return max(float((expected - each).abs().max() / expected.abs().max()) for each in found)


def _keys(source: Source, variant: str) -> dict[str, str]:
    """The keys in the file of a checkpoint by those of the network that is made of it: mostly the same.

    Told by building the network of a file in which each tensor is filled with its number.
    """
    assert source.checkpoint is not None
    state = source.checkpoint.state
    numbered = {key: torch.full_like(value, number) for number, (key, value) in enumerate(state.items(), 1)}
    with _quiet():
        twin, _ = FAMILIES[str(family_of(state))]().build(numbered, source.spec, variant)
    numbers = {name: int(value.flatten()[0]) for name, value in twin.state_dict().items() if value.numel()}
    keys = list(state)
    return {name: keys[number - 1] for name, number in numbers.items() if number}


def _bare(network: Any) -> nn.Module:
    return _bare(network.network) if isinstance(network, InBatches) else network


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No log of a file that is only read to prove it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
