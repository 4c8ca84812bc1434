"""How features are compared, and what makes two scores comparable. Without torch until distances are wanted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reid.errors import UsageError
from reid.models.readings import DISTANCES
from reid.runtime.cli import positive_int
from reid.runtime.options import option

if TYPE_CHECKING:
    from reid.datasets import Dataset
    from reid.loading import Images
    from reid.runtime.device import Compute

TEST, VALIDATION = "test", "validation"
METRIC = "distance between features (default: that of the model's authors; euclidean for ours, and with --rerank)"


@dataclass(frozen=True)
class Protocol:
    """The ranking protocol that a user asks for. Raises UsageError for options that contradict each other."""

    dist_metric: str | None = option(None, METRIC, spelling="--dist_metric", choices=DISTANCES)
    rerank: bool = option(False, "k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3)", action="store_true")
    cuhk03_repeats: int | None = option(
        None,
        "add the cuhk03 curve, averaged over N random galleries per query (default: it is left out)",
        type=positive_int,
        metavar="N",
    )
    identities: str = option(
        TEST,
        "who is ranked. test: query and gallery; validation: the training identities that --split holds out, to choose "
        "between models without a look at the others; attacks then learn on the rest",
        choices=(TEST, VALIDATION),
    )

    def __post_init__(self) -> None:
        if self.rerank and self.dist_metric == "cosine":
            raise UsageError("--rerank works on Euclidean distances; leave --dist_metric out")

    def judged(self, dataset: "Dataset") -> "Dataset":
        """A dataset with those who are ranked as query and gallery. Raises DatasetError where it has no such people."""
        from reid.evaluation.retrieval import of_validation

        return dataset if self.identities == TEST else of_validation(dataset)

    @property
    def learns_on_all(self) -> bool:
        """Whether attacks may know all training identities: nobody is judged by any of them."""
        return self.identities == TEST

    def distance(self, usual: str) -> str:
        """The name of the distance, for a model whose authors use the `usual` one."""
        return self.dist_metric or ("euclidean" if self.rerank else usual)

    def rank_options(self, distance: str, seed: int) -> dict[str, Any]:
        """What `rank` takes besides features and identities."""
        from reid.evaluation.distances import BY_NAME
        from reid.evaluation.rerank import k_reciprocal

        distances = k_reciprocal() if self.rerank else BY_NAME[distance]
        return {"distances": distances, "cuhk03_repeats": self.cuhk03_repeats or 0, "cuhk03_seed": seed}

    def settings(self, distance: str, images: "Images", compute: "Compute") -> dict[str, Any]:
        """What makes two scores comparable, with the feature of the model and the side: `protocol` of results."""
        repeats = self.cuhk03_repeats
        return {
            "distance": distance,
            "rerank": self.rerank,
            "height": images.height,
            "width": images.width,
            "interpolation": "bilinear",
            "precision": compute.precision,
            "same_camera": "dropped",
            "junk": "pid -1 dropped, pid 0 kept",
            "cuhk03": f"{repeats} random galleries per query" if repeats else "left out",
        } | ({} if self.identities == TEST else {"identities": self.identities})  # so that old hashes stay
