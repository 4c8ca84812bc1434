"""Measuring: features of images, distances, ranking metrics, re-ranking, results. Evaluation changes nothing."""

from typing import TYPE_CHECKING

from reid.runtime.registry import lazy_exports

if TYPE_CHECKING:
    from reid.evaluation.ranking import Ranking, RankList, rank, rank_list
    from reid.evaluation.retrieval import Retrieval, Score

DISTANCES = ("euclidean", "cosine")

__all__ = ["DISTANCES", "RankList", "Ranking", "Retrieval", "Score", "rank", "rank_list"]
__getattr__ = lazy_exports(
    __name__,
    {
        "RankList": "reid.evaluation.ranking:RankList",
        "Ranking": "reid.evaluation.ranking:Ranking",
        "rank": "reid.evaluation.ranking:rank",
        "rank_list": "reid.evaluation.ranking:rank_list",
        "Retrieval": "reid.evaluation.retrieval:Retrieval",
        "Score": "reid.evaluation.retrieval:Score",
    },
)
