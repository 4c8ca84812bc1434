"""Measuring: features of images, distances, ranking metrics, re-ranking, results. Evaluation changes nothing."""

from typing import TYPE_CHECKING

from reid.runtime.registry import lazy_exports

if TYPE_CHECKING:
    from reid.evaluation.ranking import Ranking, rank
    from reid.evaluation.retrieval import Retrieval, Score

DISTANCES = ("euclidean", "cosine")

__all__ = ["DISTANCES", "Ranking", "Retrieval", "Score", "rank"]
__getattr__ = lazy_exports(
    __name__,
    {
        "Ranking": "reid.evaluation.ranking:Ranking",
        "rank": "reid.evaluation.ranking:rank",
        "Retrieval": "reid.evaluation.retrieval:Retrieval",
        "Score": "reid.evaluation.retrieval:Score",
    },
)
