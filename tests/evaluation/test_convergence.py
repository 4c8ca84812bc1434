"""What more steps of the same attack find, told from results."""

import pytest
from test_verdict import EPS, NAN, measured

from reid.evaluation.convergence import optimality


class TestOptimality:
    def test_compares_multiples_on_the_same_queries(self):
        rows = optimality(
            [
                measured([0.5, 0.3, 0.1], "image", name="one", settings={"attack": "cosine", "steps": 10}),
                measured([0.4, NAN, 0.1], "image", name="two", settings={"attack": "cosine", "steps": 20}),
                measured([0.2, NAN, 0.1], "image", name="four", settings={"attack": "cosine", "steps": 40}),
            ]
        )
        (row,) = rows
        assert (row["attack"], row["queries"]) == ("one", 2)
        assert row["mAP"] == pytest.approx({"1x": 0.3, "2x": 0.25, "4x": 0.15})

    @pytest.mark.parametrize(
        "other",
        [
            {"settings": {"attack": "margin", "steps": 20}},
            {"settings": {"attack": "cosine", "steps": 20, "restarts": 2}},
            {"settings": {"attack": "cosine", "steps": 20}, "eps": EPS / 2},
            {"settings": {"attack": "cosine", "steps": 20}, "side": "both"},
            {"settings": {"recipe": "none"}},
        ],
    )
    def test_does_not_compare_other_attacks(self, other):
        one = measured([0.5], "image", settings={"attack": "cosine", "steps": 10})
        assert optimality([one, measured([0.1], "image", **other)]) == []

    def test_compares_calls_too(self):
        rows = optimality([measured([0.5], "search", settings={"calls": calls}) for calls in (100, 400)])
        assert rows[0]["mAP"] == {"1x": 0.5, "4x": 0.5}
