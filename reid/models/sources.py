"""Where models come from: files of any known kind, timm, a user's function; opened before it is known how they read."""

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reid.errors import CheckpointError, UsageError, few
from reid.models import modules
from reid.models.checkpoint import Checkpoint, LoadReport, family_of
from reid.models.families import FAMILIES
from reid.models.graphs import Graph, InBatches
from reid.models.inputs import InputSpec, preprocessing
from reid.models.network import ReidModel
from reid.models.readings import AUTO, OWN
from reid.models.trial import fingerprint, introduction, same_in_batches, troubles
from reid.models.victim import Victim
from reid.models.zoo import entries as zoo
from reid.runtime import containers
from reid.runtime.cli import IMAGE_SIZE, WEIGHTS
from reid.runtime.files import sha256
from reid.runtime.registry import unknown

logger = logging.getLogger(__name__)

Size = tuple[int | None, int | None]
READING = re.compile(r"(?P<name>.+\.json|[^/@]+)(@(?P<height>\d+)x(?P<width>\d+))?(/(?P<variant>.+))?")
VARIANT = "variant"  # in a checkpoint of an export: which of the networks that fit its keys it is


@dataclass(frozen=True)
class Source:
    """An opened model. `build` makes the network of one of its `variants`, and `own` says how that reads images, None
    where nobody knows. `fixed` are the height and width that it must have, `trained` those that it was trained on.
    `certain`: the file or its keys say how it reads images, so nothing needs to be tried. `met` are the hashes of
    perturbation files that it was trained on, as far as the file says. `kind` is what the model was told to be, and
    `loaded` what became of the weights in its file, both in words. `checkpoint` is the file of weights that it comes
    from, if it is one, `file` the one that zoo:NAME stands for, in the folder `weights`."""

    spec: str
    sha256: str
    build: Callable[[str], Any]
    own: Callable[[str], InputSpec | None] = lambda variant: None
    variants: tuple[str, ...] = ("",)
    fixed: Size = (None, None)
    trained: tuple[int, int] | None = None
    certain: bool = False
    met: str = ""
    feature: str = "as the network gives them"
    distance: str = "euclidean"
    checkpoint: Checkpoint | None = None
    kind: str = ""
    loaded: Callable[[str], str] = lambda variant: ""
    file: str = ""
    weights: str = ""

    @property
    def opened(self) -> tuple[str, str]:
        """What was opened: its kind, of OPENERS, and the rest of what names it."""
        return kind_of(self.file or self.spec)

    @property
    def any_size(self) -> bool:
        """Whether nobody knows the size of its images, so that any may be the right one."""
        return self.fixed == (None, None) and self.trained is None and self.own(self.variants[0]) is None

    def victim(self, reading: str = OWN, size: Size = (None, None), arch: str | None = None) -> Victim:
        """The model as a victim that reads images so, tried and introduced in the log: see `candidate`.

        Raises CheckpointError for another architecture than `arch`.
        """
        victim = self.candidate(reading, size)
        if arch not in (None, victim.arch):
            raise CheckpointError(
                f"{self.spec} is a {victim.arch}, not a {arch}; use -a {victim.arch}, or leave -a out"
            )
        for line in [] if isinstance(victim.model, ReidModel) else troubles(victim):
            logger.warning("%s %s", self.spec, line)
        victim.fingerprint = fingerprint(victim)
        victim.introduction = introduction(victim, self.kind, self.loaded(self.parts(reading)[2]))
        for line in victim.introduction:
            logger.info("%s: %s", self.spec, line)
        victim.reset_passes()
        return victim

    def candidate(self, reading: str = OWN, size: Size = (None, None)) -> Victim:
        """The model as a victim that reads images so: NAME[@HEIGHTxWIDTH][/VARIANT], where NAME is "own", a name of
        PREPROCESSINGS or a .json file of an InputSpec. `size` is that of the images; None is what the model wants.

        Raises UsageError for an unknown reading, and for a model that gives no features, or none that are finite.
        """
        name, asked, variant = self.parts(reading)
        network, input = self.build(variant), self.reading(name, asked or size, variant)
        if asked and any(fixed not in (None, each) for fixed, each in zip(self.fixed, asked, strict=True)):
            raise UsageError(f"{self.spec} takes {input.height} x {input.width} images only; leave @ out of {reading}")
        if asked:
            input = replace(input, height=asked[0], width=asked[1])
        described = {"name": Path(self.spec).name, "sha256": self.sha256, "feature": self.feature}
        victim = Victim(network, input, **described)
        if not isinstance(network, ReidModel) and not same_in_batches(victim):
            words = "%s gives images in a batch other features than one by one, so it gets them one by one"
            logger.warning(words + "; is a part of it in training mode?", self.spec)
            victim = Victim(InBatches(network, 1), input, **described)
        victim.reading, victim.distance, victim.met = reading, self.distance, self.met
        return victim

    def size(self, asked: Size = (None, None), variant: str = "") -> tuple[int, int]:
        """Height and width of the images that it gets: the only ones that it takes, those `asked`, else the usual."""
        own = self.own(variant or self.variants[0])
        usual = self.trained or (own.size if own else IMAGE_SIZE)
        height, width = (fixed or side or most for fixed, side, most in zip(self.fixed, asked, usual, strict=True))
        return height, width

    def parts(self, reading: str) -> tuple[str, tuple[int, int] | None, str]:
        """Name, size, if it has one, and variant of a reading. Raises UsageError for a variant that is none."""
        parts = READING.fullmatch(reading)
        if parts is None:
            raise UsageError(f"{reading!r} is no NAME[@HEIGHTxWIDTH][/VARIANT] of a preprocessing")
        variant = parts["variant"] or self.variants[0]
        if variant not in self.variants:
            raise unknown(f"variant of {self.spec}", variant, self.variants)
        return parts["name"], (int(parts["height"]), int(parts["width"])) if parts["height"] else None, variant

    def reading(self, name: str, size: Size = (None, None), variant: str = "") -> InputSpec:
        """What a reading of this name is for this model."""
        own = self.own(variant or self.variants[0])
        height, width = self.size(size, variant)
        if name == AUTO or (name == OWN and own is None):
            problem = "gets no images here to be tried on" if name == AUTO else "does not say how it wants its images"
            remedy = f"find it by python -m reid.models.detective {self.spec} -d DATASET, and give --preprocessing NAME"
            raise UsageError(f"{self.spec} {problem}; {remedy}")
        if name.endswith(".json"):
            own = InputSpec.read(name)
        elif name != OWN:
            own = preprocessing(name, height, width, own.resize if own else "bilinear" if all(self.fixed) else None)
        assert own is not None
        if self.trained and self.trained != (height, width):
            words = "%s was trained on %d x %d images, not %d x %d; see --height and --width"
            logger.warning(words, self.spec, *self.trained, height, width)
        return replace(own, height=height, width=width) if own.resize is None else own


def open_model(spec: str | Path, weights: str | Path = WEIGHTS) -> Source:
    """The model that `spec` names: a checkpoint of a known family, an ONNX or OpenVINO file, timm:NAME[:FILE],
    torchscript:FILE, exported:FILE, package.module:function, or zoo:NAME, whose file is in the folder `weights`.

    Raises UsageError and CheckpointError, which say what is wrong with it.
    """
    kind, place = kind_of(str(spec))
    return _of_zoo(zoo.find(place), weights) if kind == "zoo" else OPENERS[kind](str(spec), place)


def _of_zoo(entry: zoo.Entry, weights: str | Path) -> Source:
    """The verified file of an entry, which says how the model reads images."""
    spec, path = f"{zoo.PREFIX}{entry.name}", str(entry.verified(weights))
    if entry.sha256 is None:
        logger.warning("%s: %s %s", spec, path, zoo.UNVERIFIED)
    source = OPENERS[kind_of(path)[0]](spec, path)
    found = getattr(source.build(source.variants[0]), "arch", entry.arch)
    if found != entry.arch:  # a file whose hash nobody knows may be any
        raise CheckpointError(f"{path} is a {found}, but {spec} is a {entry.arch}; it comes from {entry.origin}")
    return replace(source, own=lambda _: entry.input, certain=True, file=path, weights=str(weights))


def file_of(spec: str, weights: str | Path = WEIGHTS) -> str:
    """A spec with the verified file, in the folder `weights`, in place of zoo:NAME."""
    kind, name = kind_of(spec)
    return str(zoo.find(name).verified(weights)) if kind == "zoo" else spec


def kind_of(spec: str) -> tuple[str, str]:
    """What kind of model a spec names, of OPENERS, and the rest of it: a file, a name."""
    kind, _, rest = spec.partition(":")
    if kind in NAMED and rest:
        return kind, rest
    if modules.FUNCTION.fullmatch(spec) and not Path(spec).exists():
        return "function", spec
    kind = containers.kind_of(spec)
    return kind if kind in GRAPHS else "checkpoint", spec


def _checkpoint(spec: str, path: str) -> Source:
    checkpoint = Checkpoint.read(path)
    name = family_of(checkpoint.state) or "resnet"  # which says what is wrong with any other
    family = FAMILIES[name]()
    state, content = checkpoint.state, checkpoint.content
    settings = content.get("settings")
    variants = family.variants(state, content) or ("",)  # of which `build` says what is wrong
    if (stated := str(content.get(VARIANT))) in variants:
        variants = (stated,)
    if len(variants) > 1:
        words = "%s does not say which network it is; unless --preprocessing own/NAME says it, taken: %s; or: %s"
        logger.warning(words, spec, variants[0], few(variants[1:]))

    def own(variant: str) -> InputSpec:
        return InputSpec.stated(content.get("input"), path) or family.input(state, content, variant)

    @lru_cache(maxsize=1)  # many readings are tried on the same
    def built(variant: str) -> tuple[Any, LoadReport]:
        network, report = family.build(state, path, variant)
        return network, replace(report, found=checkpoint.found, skipped=checkpoint.skipped)

    return Source(
        spec,
        sha256(path),
        lambda variant: built(variant)[0],
        own,
        variants,
        trained=checkpoint.trained_size,
        certain=True,
        met=str(settings.get("attackers_sha256", "")) if isinstance(settings, Mapping) else "",
        feature=family.feature,
        distance=family.distance,
        kind=FAMILIES.summary(name),
        loaded=lambda variant: built(variant)[1].summary(),
        checkpoint=checkpoint,
    )


def _onnx(spec: str, path: str) -> Source:
    from reid.models.graphs.onnx_file import load_onnx  # its packages are extras

    return _graph(spec, path, load_onnx(path))


def _openvino(spec: str, path: str) -> Source:
    from reid.models.graphs.openvino_file import load_openvino

    return _graph(spec, path, load_openvino(path))


def _graph(spec: str, path: str, graph: Graph) -> Source:
    size = graph.contract.height, graph.contract.width
    own, stated = graph.input, graph.stated
    family = _family_of_graph(graph.names)
    if own is None and family:
        own = FAMILIES[family]().input({}, {})
    return Source(
        spec,
        sha256(path),
        lambda _: graph.network,
        lambda _: own,
        fixed=size,
        certain=stated,
        distance=graph.distance,
        kind=f"by the names of its weights {FAMILIES.summary(family)}" if family else "a graph of operators",
        loaded=lambda _: graph.report,
    )


def _family_of_graph(names: frozenset[str]) -> str | None:
    """The name of the family whose marks are all among the names of a graph."""
    return next((name for name in FAMILIES if (marks := FAMILIES[name].marks) and names.issuperset(marks)), None)


def _timm(spec: str, name: str) -> Source:
    network, input = modules.load_timm(name)
    return Source(spec, weights_sha256(network), lambda _: network, lambda _: input, certain=True)


def _function(spec: str, name: str) -> Source:
    network, input = modules.load_function(name)
    known = weights_sha256(network, spec)
    return Source(spec, known, lambda _: network, lambda _: input, certain=input is not None)


def _torchscript(spec: str, path: str) -> Source:
    network, input, distance = modules.load_torchscript(path)
    certain = input is not None
    return Source(spec, sha256(path), lambda _: network, lambda _: input, certain=certain, distance=distance)


def _exported(spec: str, path: str) -> Source:
    network, input, wanted = modules.load_exported(path)
    size = wanted.height, wanted.width
    return Source(spec, sha256(path), lambda _: network, lambda _: input, fixed=size, certain=input is not None)


NAMED = ("zoo", "timm", "torchscript", "exported")  # before the colon of a spec
GRAPHS = ("onnx", "openvino")
OPENERS: Mapping[str, Callable[[str, str], Source]] = {
    "checkpoint": _checkpoint,
    "onnx": _onnx,
    "openvino": _openvino,
    "function": _function,
    "timm": _timm,
    "torchscript": _torchscript,
    "exported": _exported,
}


def weights_sha256(network: object, spec: str = "") -> str:
    """Hexadecimal SHA-256 of the weights of a network, which has no file; of its name for a mere function."""
    state: dict[str, Tensor] = network.state_dict() if isinstance(network, nn.Module) else {}
    whole = hashlib.sha256(b"" if state else spec.encode())
    for key, value in state.items():
        whole.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()
