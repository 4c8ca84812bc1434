"""The architectures that `create` knows, by name. Without torch, so that listing them costs nothing."""

from typing import NamedTuple


class Body(NamedTuple):
    """A ResNet: whether its blocks are bottlenecks, and how many there are in each of its four stages."""

    bottleneck: bool
    blocks: tuple[int, int, int, int]


BODIES = {
    "resnet10": Body(False, (1, 1, 1, 1)),
    "resnet18": Body(False, (2, 2, 2, 2)),
    "resnet34": Body(False, (3, 4, 6, 3)),
    "resnet50": Body(True, (3, 4, 6, 3)),
    "resnet101": Body(True, (3, 4, 23, 3)),
    "resnet152": Body(True, (3, 8, 36, 3)),
}
RES_META = "resMeta"
HEAD, RES_META_HEAD = "classifier_x2", "classifier"
EMBEDDING = 2048  # width between the pooled features and the head, the same for every depth


def names() -> list[str]:
    """Architectures that `create` knows. resnet10, for laptops and tests, has no published weights."""
    return [*BODIES, RES_META]
