"""The verdict: goals, the worst case, who stands, success, and the summary."""

import json
from dataclasses import replace

import numpy as np
import pytest

from reid.attacks import Threat
from reid.evaluation.goals import ALSO, GOALS, ONE_FOR_ALL, goal_of
from reid.evaluation.measured import Measured
from reid.evaluation.ranking import Ranking
from reid.evaluation.results import Result, read_results, write_result
from reid.evaluation.suites import Suite
from reid.evaluation.verdict import Judgement, Traits, main_budget
from reid.report.verdict import conclude, words

EPS = 8 / 255
NAN = float("nan")
CHANCE = 0.2
MODEL = {"path": "model.pth", "arch": "toy", "sha256": "ab" * 32}
ISSUE = {"universal", "universal_equal_total", "image", "image_gallery"}
ISSUE |= {"gallery_side", "both_sides", "transfer", "search"}


def result(kind="clean", side="query", needs=(), eps=EPS, name=None, color=0.0, **attack):
    """What an evaluation of a row of a kind writes."""
    threat = {} if kind == "clean" else {"eps_color": color, "eps_delta": eps, "side": side}
    known = {"noise_type": None, "sha256": None, "settings": {}, "needs": list(needs)}
    return Result(
        metrics={"mAP": 0.5, "mINP": 0.5, "cmc": {}, "num_valid": 4, "num_skipped": 0, "chance_mAP": CHANCE},
        victim=MODEL,
        attack=known | {"name": name or kind, "kind": kind} | attack,
        dataset={"name": "toy", "split": 0, "num_query": 4, "num_gallery": 8},
        threat=threat,
        spent={},
        passes={"forward": 3, "backward": 2},
        protocol={"side": side},
        checks=[],
        seed=0,
        versions={},
        command="evaluate.py",
        seconds=0.5,
    )


def measured(precision, *args, first=None, **changes):
    """An attack, or no attack, that leaves this average precision of each query."""
    values = np.array(precision)
    return Measured(result(*args, **changes), values, np.array(first or np.where(np.isnan(values), NAN, 1.0)))


def judgement(*attacks, clean=(0.9, 0.8, 0.7, 0.6), eps=EPS, first=None):
    all_of_them = [measured(clean, first=first), *attacks]
    return Judgement(np.arange(len(clean)), None, eps, Traits(), all_of_them)


COSINE = {"kind": "image", "needs": ("gradients", "training")}
RANKING = {"kind": "image", "needs": ("gradients", "labels", "reference")}
LEARNT = {"kind": "relearnt"}


@pytest.mark.parametrize(
    ("kind", "side", "needs", "goal"),
    [
        ("clean", "query", (), None),
        ("control", "query", (), None),
        ("control", "both", (), None),
        ("relearnt", "query", (), "universal"),
        ("universal", "query", (), "universal"),
        ("relearnt", "gallery", (), "gallery_side_universal"),
        ("relearnt", "both", (), "both_sides_universal"),
        ("image", "query", ("gradients",), "image"),
        ("image", "query", ("gradients", "training"), "image"),
        ("image", "query", ("gradients", "reference"), "image_gallery"),
        ("image", "gallery", ("gradients", "training"), "gallery_side_model"),
        ("image", "gallery", ("gradients", "reference"), "gallery_side"),
        ("image", "both", ("gradients",), "both_sides_model"),
        ("image", "both", ("gradients", "reference"), "both_sides"),
        ("transfer", "query", ("training",), "transfer"),
        ("transfer", "query", ("reference",), "transfer_gallery"),
        ("search", "query", ("labels", "reference", "scores"), "search"),
        ("search", "gallery", ("labels", "reference", "scores"), "gallery_side"),
        ("search", "query", (), "search_universal"),
        ("search", "gallery", (), "gallery_side_universal"),
        ("search", "both", (), "both_sides_universal"),
    ],
)
def test_the_goal_is_what_is_known_and_changed(kind, side, needs, goal):
    assert goal_of(kind, side, needs) == goal
    assert measured([0.5], kind, side, needs, learnt_on=MODEL["sha256"]).goal == goal
    assert goal is None or goal in GOALS


def test_files_of_other_models_and_those_that_the_model_met_are_apart():
    files = [
        measured([0.5], "universal", learnt_on=learnt, met=met)
        for learnt, met in (("cd" * 32, False), (None, False), (MODEL["sha256"], False), ("cd" * 32, True))
    ]
    assert [each.goal for each in files] == ["frozen", "frozen", "universal", "met"]


def test_a_file_that_nobody_knows_is_of_another_model_even_where_the_model_has_no_hash():
    file = result("universal", learnt_on=None)
    nameless = replace(file, victim=MODEL | {"sha256": None})
    assert Measured(nameless, np.array([0.5]), np.array([1.0])).goal == "frozen"


def test_delta_alone_at_the_total_counts_at_the_budget_of_a_component():
    alone = measured([0.5], "relearnt", eps=2 * EPS, settings={"equal_total": True})
    both = measured([0.5], "relearnt", color=EPS)
    assert (alone.goal, both.goal) == ("universal_equal_total", "universal")
    assert alone.eps == both.eps == EPS
    assert measured([0.5], "search", eps=2 * EPS, settings={"equal_total": True}).goal == "universal_equal_total"
    assert alone.total == both.total == 2 * EPS


def test_one_perturbation_for_all_is_no_goal_of_attacks_on_each_image():
    sides = {"universal", "universal_equal_total", "gallery_side_universal", "both_sides_universal"}
    assert sides | {"search_universal", "frozen", "met"} == ONE_FOR_ALL


class TestWorst:
    def test_is_the_least_of_each_query_and_never_above_clean(self):
        found = judgement(
            measured([0.5, 0.9, 0.7, 0.1], **COSINE),
            measured([0.6, 0.95, 0.2, 0.3], **COSINE),
        ).worst("image")
        assert found.precision.tolist() == [0.5, 0.8, 0.2, 0.1]
        assert found.mAP == pytest.approx(0.4)

    def test_is_of_the_queries_that_were_attacked(self):
        found = judgement(measured([NAN, 0.9, NAN, 0.1], **COSINE)).worst("image")
        np.testing.assert_array_equal(found.precision, [NAN, 0.8, NAN, 0.1])
        assert found.mAP == pytest.approx(0.45)

    def test_has_the_last_rank_of_a_first_match(self):
        found = judgement(
            measured([0.5] * 4, first=[3, 1, NAN, 2], **COSINE),
            measured([0.5] * 4, first=[2, 1, NAN, 9], **COSINE),
            first=[1, 4, 1, 1],
        ).worst("image")
        np.testing.assert_array_equal(found.first, [3, 4, NAN, 9])

    def test_of_who_knows_more_is_over_what_who_knows_less_can_do(self):
        cosine, ranking = measured([0.1, 0.5, 0.5, 0.5], **COSINE), measured([0.5, 0.1, 0.5, 0.5], **RANKING)
        search = measured([NAN, NAN, 0.1, NAN], "search", needs=("reference",))
        both = judgement(cosine, ranking, search)
        assert both.worst("image_gallery").precision.tolist() == [0.1, 0.1, 0.1, 0.5]
        assert both.worst("image").precision.tolist() == [0.1, 0.5, 0.5, 0.5]
        assert judgement(cosine, search).worst("image_gallery") is None

    def test_is_of_one_budget_and_there_is_none_where_nothing_was_tried(self):
        small = judgement(measured([0.5] * 4, eps=EPS / 2, **COSINE))
        assert small.worst("image") is None
        assert small.worst("image", EPS / 2).mAP == 0.5
        assert small.worst("universal", EPS / 2) is None

    def test_of_one_perturbation_for_all_is_the_strongest_as_nobody_may_choose_by_query(self):
        halves = [0.0, 0.1, 0.7, 0.9], [0.8, 0.8, 0.1, 0.1]  # the first helps the last query
        universal = judgement(*(measured(half, first=[9, 9, 1, 1], **LEARNT) for half in halves), first=[1, 1, 2, 2])
        assert universal.worst("universal").precision.tolist() == halves[0]
        assert universal.worst("universal").first.tolist() == [9, 9, 1, 1]
        image = judgement(*(measured(half, **COSINE) for half in halves))
        assert image.worst("image").precision.tolist() == [0.0, 0.1, 0.1, 0.1]

    def test_of_one_perturbation_for_all_is_one_that_hits_most_queries(self):
        some = measured([0.1, NAN, NAN, NAN], **LEARNT)
        assert judgement(some, measured([0.5] * 4, **LEARNT)).worst("universal").mAP == 0.5
        assert judgement(some).worst("universal").mAP == 0.1

    def test_of_one_perturbation_for_all_counts_those_of_who_may_do_less(self):
        found = judgement(measured([0.5] * 4, **LEARNT), measured([0.3] * 4, "search"), measured([0.4] * 4, **COSINE))
        summary = found.summary("toy")
        assert summary["worst"]["universal"] == summary["strongest"]["universal"]["mAP"] == pytest.approx(0.3)
        assert summary["strongest"]["universal"]["attack"] == "search"
        assert summary["spread"]["universal"] == pytest.approx([0.3, 0.5])

    @pytest.mark.parametrize("seed", range(5))
    def test_equals_the_loop_over_queries(self, seed):
        """Any attacks on any queries, goal by goal."""
        random, count = np.random.default_rng(seed), 12
        kinds = ["relearnt", "image", "transfer", "search", "control"]
        attacks = []
        for _ in range(14):
            precision = np.where(random.random(count) < 0.3, NAN, random.random(count))
            kind, side = str(random.choice(kinds)), str(random.choice(["query", "gallery", "both"]))
            needs = ("reference",) if random.random() < 0.5 else ()
            attacks.append(measured(precision, kind, side, needs, float(random.choice([EPS / 2, EPS]))))
        clean = np.where(random.random(count) < 0.1, NAN, random.random(count))
        found = judgement(*attacks, clean=clean)
        for goal in GOALS:
            own = [each for each in attacks if each.goal == goal and each.eps == EPS]
            less = [each for each in attacks if each.goal in ALSO.get(goal, ()) and each.eps == EPS]
            if not own:
                assert found.worst(goal) is None
                continue
            if goal in ONE_FOR_ALL:
                counts = [np.isfinite(each.precision).sum() for each in own + less]
                whole = [each for each, tried in zip(own + less, counts, strict=True) if tried == max(counts)]
                assert found.worst(goal).mAP == min(each.mAP for each in whole)
                continue
            expected = []
            for query in range(count):
                tried = [each.precision[query] for each in own + less if not np.isnan(each.precision[query])]
                left = [clean[query], *tried]
                expected.append(min(left) if tried and not np.isnan(clean[query]) else NAN)
            np.testing.assert_array_equal(found.worst(goal).precision, expected)


class TestStanding:
    def test_are_those_above_chance_under_what_the_goal_has_so_far(self):
        found = judgement(measured([0.1, 0.3, NAN, 0.2], **COSINE), clean=(0.9, 0.8, 0.7, 0.6))
        assert found.standing("image", EPS) == (1, 2)  # at chance is no longer standing
        assert found.standing("image", EPS / 2) == found.standing("universal", EPS) == (0, 1, 2, 3)

    def test_are_none_of_those_that_never_stood_or_have_no_match(self):
        assert judgement(clean=(0.9, 0.1, NAN, 0.6)).standing("image", EPS) == (0, 3)


class TestSome:
    def test_are_twenty_at_least_and_the_same_for_all(self):
        found = judgement(clean=np.linspace(0.3, 1, 100))
        assert len(found.some(0.1)) == 20
        assert len(found.some(0.5)) == 50
        assert found.some(0.1) == found.some(0.1) == tuple(sorted(found.some(0.1)))
        assert {*found.some(0.1)} < {*found.some(0.5)}
        assert found.some(0.1, seed=1) != found.some(0.1)

    def test_have_a_match(self):
        found = judgement(clean=[NAN, 0.5, NAN, 0.5])
        assert found.some(0.1) == (1, 3)


def test_success_is_the_share_whose_first_match_left_the_first_k():
    attack = measured([0.1] * 4 + [NAN], first=[2, 1, 7, 30, NAN], **COSINE)
    summary = judgement(attack, clean=[0.9] * 5, first=[1, 1, 1, 6, 1]).summary("toy")
    assert summary["success"]["image"] == pytest.approx({"1": 2 / 3, "5": 1 / 3, "10": 1 / 4})


def test_the_verdict_is_about_8_of_255_or_the_largest_budget():
    threats = [(0, Threat(eps, eps)) for eps in (4 / 255, 8 / 255, 16 / 255)]
    assert main_budget(threats) == 8 / 255
    assert main_budget(threats[:1]) == 4 / 255
    assert main_budget([(2, Threat(0.0, 2 / 255)), (1, Threat(16 / 255, 0.0))]) == 16 / 255


@pytest.fixture
def full(tmp_path):
    """A judgement of an attack of each goal, two of them for some, at two budgets."""
    attacks = [
        measured([0.5, 0.4, 0.3, 0.2], "relearnt", name="learnt", passes={"forward": 9, "backward": 1}),
        measured([0.4, 0.4, 0.4, 0.4], "relearnt", name="learnt again"),
        measured([0.3] * 4, "relearnt", eps=2 * EPS, settings={"equal_total": True}),
        measured([0.3] * 4, name="cosine", **COSINE),
        measured([0.45] * 4, eps=EPS / 2, **COSINE),
        measured([0.1, NAN, NAN, 0.1], name="ranking", **RANKING),
        measured([0.6] * 4, "transfer", settings={"surrogate": "B.pth", "attack": "cosine"}),
        measured([0.5] * 4, "search", needs=("reference",)),
        *(measured([0.4] * 4, "image", side, ("reference",)) for side in ("gallery", "both")),
        measured([0.89, 0.8, 0.7, 0.6], "control", settings={"control": "random sign"}),
    ]
    return replace(judgement(*attacks), folder=tmp_path)


class TestSummary:
    def test_has_what_the_issue_names_and_is_plain(self, full):
        summary = full.summary("toy")
        assert summary.keys() >= {"suite", "model", "dataset", "clean", "chance", "worst", "flags", "passes", "seconds"}
        assert ISSUE <= summary["worst"].keys() == GOALS.keys()
        assert json.loads(json.dumps(summary, allow_nan=False)) == summary
        assert (summary["suite"], summary["dataset"], summary["model"]) == ("toy", "toy", MODEL)
        assert (summary["clean"], summary["chance"]) == pytest.approx((0.75, CHANCE))

    def test_says_the_worst_and_how_sure_that_is(self, full):
        summary = full.summary("toy")
        assert summary["worst"]["universal"] == pytest.approx((0.5 + 0.4 + 0.3 + 0.2) / 4)
        assert summary["worst"]["image_gallery"] == pytest.approx((0.1 + 0.3 + 0.3 + 0.1) / 4)
        assert summary["worst"]["met"] is None
        low, high = summary["intervals"]["universal"]
        assert 0.2 <= low < summary["worst"]["universal"] < high <= 0.5
        assert summary["queries"]["image_gallery"] == 4
        assert "met" not in summary["intervals"].keys() | summary["strongest"].keys()

    def test_names_the_strongest_attack_and_the_spread(self, full):
        summary = full.summary("toy")
        strongest = summary["strongest"]["universal"]
        assert (strongest["attack"], strongest["mAP"]) == ("learnt", pytest.approx(0.35))
        assert strongest["result"] == full.measured[1].result.file_name
        assert summary["spread"]["universal"] == pytest.approx([0.35, 0.4])

    def test_says_what_the_ranking_betrays_of_the_strongest(self, full):
        for each, found in zip(full.measured, (0.01, 0.7, 0.9), strict=False):
            each.result.detector["found"] = found
        assert full.summary("toy")["detector"] == {"universal": {"found": 0.7}}

    def test_has_a_curve_and_the_transfer_matrix(self, full):
        summary = full.summary("toy")
        assert list(summary["curve"]) == ["4/255", "8/255"]
        assert summary["curve"]["4/255"] == pytest.approx({"image": 0.45})
        assert summary["curve"]["8/255"]["image"] == summary["worst"]["image"]
        assert summary["transfer"] == {"B.pth": {"cosine": pytest.approx(0.6)}}

    def test_sums_passes_and_seconds(self, full):
        summary = full.summary("toy")
        assert summary["passes"] == {"forward": 3 * 12, "backward": 2 * 12}
        assert summary["seconds"] == 0.5 * 12

    def test_is_a_file_next_to_the_results_that_is_no_result(self, full, tmp_path):
        write_result(tmp_path, full.clean.result)
        text = "\n".join(conclude(full, "toy", Suite(judges=True)))
        assert json.loads((tmp_path / "toy-summary.json").read_text()) == full.summary("toy")
        assert str(tmp_path / "toy-summary.json") in text
        assert read_results(tmp_path) == [full.clean.result]

    def test_is_told_in_words(self, full):
        lines = list(words(full.summary("toy")))
        (line,) = (line for line in lines if line.startswith(f"  {GOALS['universal']}"))
        assert "35.0" in line
        assert line.endswith("  strongest: learnt")
        (line,) = (line for line in lines if line.startswith(f"  {GOALS['image_gallery']}"))
        assert "20.0" in line
        assert "alone 10.0 on 2 queries: ranking" in line
        assert not any(GOALS["met"] in line for line in lines)
        assert any(line.startswith("flag: ") for line in lines) == bool(full.summary("toy")["flags"])


def ranking(precision, first):
    valid, values = np.flatnonzero(~np.isnan(precision)), np.array(precision)
    curves = {"market1501": np.ones(10), "allshots": np.ones(10)}
    return Ranking(
        float(values[valid].mean()), 0.5, curves, CHANCE, len(valid), 0, valid, values[valid], np.array(first)[valid]
    )


def test_takes_the_values_of_each_query_from_the_folder(tmp_path):
    found = Judgement(np.arange(4), tmp_path, EPS)
    clean = result()
    write_result(tmp_path, clean, ranking([0.9, NAN, 0.7, 0.6], [1, 0, 2, 3]))
    found.add(clean)
    np.testing.assert_array_equal(found.clean.precision, [0.9, NAN, 0.7, 0.6])
    np.testing.assert_array_equal(found.clean.first, [1, NAN, 2, 3])


def test_a_result_that_does_not_say_what_the_attack_needed_is_judged_by_its_kind(tmp_path):
    """As those of before were: by their kind alone, so an attack on each image knows the model only."""
    old = result("image", name="pgd")
    for key in ("needs", "settings"):
        del old.attack[key]
    old.attack["settings"] = {}
    write_result(tmp_path, old, ranking([0.5] * 4, [1] * 4))
    (read,) = read_results(tmp_path)
    assert Measured(read, np.array([0.5]), np.array([1.0])).goal == "image"
