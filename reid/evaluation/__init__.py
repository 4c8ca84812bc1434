"""Measuring: features of images, distances, ranking metrics, re-ranking, results. Evaluation changes nothing."""

from reid.evaluation.protocol import Protocol, Score
from reid.evaluation.ranking import Ranking, rank

__all__ = ["Protocol", "Ranking", "Score", "rank"]
