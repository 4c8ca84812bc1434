"""The largest batches that fit cards of 24 and 80 GB: a count of every byte that a step of this code holds at its peak.

    python -m benchmarks.memory_plan            # ResNet-50, 256 x 128: attack and defences, fp32 and bf16

This is a count, not a measurement on a GPU. The steps run on tensors without contents (FakeTensorMode), every storage
is counted until it is freed, and memory is linear in the batch: `fixed_MB` + `MB_per_image` x images per set. Buffers
that operators need inside themselves are not seen: a tenth of the card is left to them, to CUDA's context and to
fragmentation. For fp32 two small steps also run on the CPU: what they add by count ("counted") and what the process
really took ("resident").
"""

import copy
import ctypes
import json
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import measure
from reid import attacks, models
from reid.attacks.universal.optimiser import MISGD
from reid.attacks.universal.step import KnownImages, meta_step
from reid.models.victim import Victim
from reid.runtime import cli
from reid.training import ReidLoss, Schedule
from reid.training.batches import TrainingBatch
from reid.training.inner import Inner
from reid.training.layers import differentiate_twice
from reid.training.network import TrainedNetwork, Weights
from reid.training.step import step_gradients

CARDS = {"24 GB": 24 * 2**30, "80 GB": 80 * 2**30}
USABLE = 0.9
FITTED, CHECKED = (64, 128), (4, 8)  # images per set
HEIGHT, WIDTH, IDENTITIES, INSTANCES = 256, 128, 751, 4
LIBC, M_MMAP_THRESHOLD = ctypes.CDLL(None), -3  # of mallopt(3)
Autocast = Callable[[], AbstractContextManager]
PRECISIONS: dict[str, Autocast] = {"fp32": nullcontext, "bf16": partial(torch.autocast, "cpu", dtype=torch.bfloat16)}


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages of all tensors that operators return: `live` now, `peak` at most so far."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self._known:
                self._known.add(storage)
                self.live += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return result

    def _free(self, size: int) -> None:
        self.live -= size


def victim() -> Victim:
    return Victim(models.create("resnet50", IDENTITIES, seed=0))


def trained(checkpointing: bool) -> TrainedNetwork:
    model = models.create("resnet50", IDENTITIES, seed=0)
    model.recompute_activations = checkpointing
    return TrainedNetwork(model, num_virtual=IDENTITIES).to(memory_format=torch.channels_last)


def attack(victim: Victim, autocast: Autocast, batch_size: int) -> measure.Step:
    """One step of metaAttack.py, type 0."""
    noise = attacks.create(0, height=HEIGHT, width=WIDTH)
    optimizer = MISGD(noise.step_groups(), lr=0.0)
    features, labels = torch.rand(batch_size, victim.feature_dim), torch.arange(batch_size) // INSTANCES
    source, virtual = (KnownImages(images, labels, features) for images in torch.rand(2, batch_size, 3, HEIGHT, WIDTH))

    def distance(clean: Tensor, perturbed: Tensor, _: Tensor) -> Tensor:  # the objective proper looks into labels
        return (perturbed - clean).square().mean()

    return lambda: meta_step(noise, victim, source, virtual, optimizer, "maml", autocast, distance)


def defend(both: bool, order: str | None, network: TrainedNetwork, autocast: Autocast, batch_size: int) -> measure.Step:
    """One step of metaDefense.py, with the perturbed half, to the end of Adam's."""
    schedule, reid_loss = Schedule(85, 100, 2e-4, shape="late", new_layers=3), ReidLoss(margin=0.5)
    optimizer = torch.optim.Adam(network.groups(schedule.lr, schedule.new_layers), weight_decay=schedule.weight_decay)
    if order == "second":
        differentiate_twice(network)
    weights = network.weights()
    inner = None if order is None else Inner(dict.fromkeys(weights, schedule.lr), schedule.weight_decay, order)
    labels = torch.arange(batch_size) // INSTANCES
    labels = torch.cat([labels, labels[::2]])
    images = torch.rand(2, batch_size, 3, HEIGHT, WIDTH)
    source, virtual = (TrainingBatch(clean, clean[::2].clone(), labels, bool(i)) for i, clean in enumerate(images))

    def loss_of(at: Weights, batch: TrainingBatch) -> Tensor:
        with autocast():
            features, logits = network.at(at, batch.images, batch.virtual)
        return reid_loss(features, logits.float(), batch.labels)[0]

    def step() -> None:
        found = step_gradients(loss_of, weights, source, virtual if both else None, inner)
        for name, weight in weights.items():
            weight.grad = found.gradients.get(name)
        optimizer.step()

    return step


# The network of each kind of step, and what makes a step of it, given a precision and a batch size.
STEPS: dict[str, tuple[Callable[[], nn.Module], Callable[..., measure.Step]]] = {"attack": (victim, attack)}
for kind, sets in {
    "adversarial": (False, None),
    "mixed": (True, None),
    "meta, first order": (True, "first"),
    "meta, second order": (True, "second"),
}.items():
    STEPS[kind] = (partial(trained, False), partial(defend, *sets))
    STEPS[f"{kind}, checkpointing"] = (partial(trained, True), partial(defend, *sets))


def count(kind: str, autocast: Autocast, batch_size: int) -> tuple[int, int]:
    """Bytes held at the peak of two steps, and how much of that the first one added to what it found."""
    make, prepare = STEPS[kind]
    network = make()
    weights = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    fake = FakeTensorMode()
    with FakeCopyMode(fake):
        network = copy.deepcopy(network)
    with fake, LiveBytes() as held:
        step = prepare(network, autocast, batch_size)
        before = held.peak = held.live
        step()
        added = held.peak - before
        step()
    return weights + held.peak, added


def resident(kind: str, batch_size: int) -> float:
    """Bytes that this process holds at the peak of a step, in fp32, beyond those that it held before."""
    make, prepare = STEPS[kind]
    step = prepare(make(), nullcontext, batch_size)
    LIBC.malloc_trim(0)
    before = measure._start_peak("cpu")
    step()
    return measure._peak("cpu") - before


def plan(kind: str, precision: str) -> dict[str, int | float]:
    """The law of a step's memory, the largest batches of whole identities on each card, and for fp32 the check."""
    autocast = PRECISIONS[precision]
    small, large = FITTED
    low, high = (count(kind, autocast, size)[0] for size in FITTED)
    each = (high - low) / (large - small)
    fixed = low - small * each
    found = {"fixed_MB": _megabytes(fixed), "MB_per_image": round(each / measure.MEGABYTE, 1)}
    for name, size in CARDS.items():
        found[name] = int((USABLE * size - fixed) / each) // INSTANCES * INSTANCES
    for size in CHECKED if precision == "fp32" else ():
        found[f"counted at {size}"] = _megabytes(count(kind, autocast, size)[1])
        found[f"resident at {size}"] = _megabytes(resident(kind, size))
    return found


def _megabytes(size: float) -> int:
    return round(size / measure.MEGABYTE)


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.memory_plan")
    parser.add_argument("--threads", type=cli.positive_int, default=2, help="threads of the check")
    args = parser.parse_args(argv)
    LIBC.mallopt(M_MMAP_THRESHOLD, 2**16)  # freed memory is not kept: resident is what is really held
    machine = measure.machine(args.threads)
    for kind in STEPS:
        for precision in PRECISIONS:
            line = {"benchmark": "memory_plan", "kind": f"{kind}, {precision}", **plan(kind, precision), **machine}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    cli.run(main)
