"""Which results are in which table, what is the strongest attack, and what is told against it."""

import json

import pytest

from reid.evaluation.results import write_result
from reid.leaderboard.boards import boards_of
from reid.leaderboard.entries import read
from tests.leaderboard.conftest import EPS, external, record

KNOWS = ("gradients", "labels", "reference")
CLEAN = record(0.9)


@pytest.fixture
def tables(tmp_path):
    """`tables(*results)`: the tables of these results, and the notes."""

    def run(*results):
        for result in results:
            write_result(tmp_path / "results", result)
        return boards_of(read([tmp_path / "results"]))

    return run


def row_of(tables, *results):
    (board,), _ = tables(*results)
    (row,) = board.rows
    return row


def attacks(row):
    return {goal: (entry.attack, entry.mAP) for goal, entry in row.attacks.items()}


def test_each_goal_has_its_strongest_attack_of_ours_or_of_others(tables):
    results = [
        CLEAN,
        record(0.5, "image", "weak"),
        record(0.4, "image", "strong"),
        record(0.3, "image", "knows", needs=KNOWS),
        external(0.2, name="theirs", needs=KNOWS),
        external(0.45, name="weaker", needs=["gradients"]),
        record(0.35, "search", needs=("reference", "scores")),
        record(0.01, "control", "random"),
    ]
    row = row_of(tables, *results)
    assert attacks(row) == {"image": ("strong", 0.4), "image_gallery": ("theirs", 0.2), "search": ("search", 0.35)}
    assert row.strongest.attack == "theirs"
    assert (row.strongest.external, row.strongest.authors) == (True, "A. Reader")
    assert row.clean.mAP == 0.9


def test_who_knows_more_or_may_change_more_has_what_others_have(tables):
    others = record(0.5, "image", "gallery", needs=KNOWS), record(0.6, "image", "both", side="both")
    row = row_of(tables, CLEAN, record(0.1, "image"), *others)
    assert attacks(row) == dict.fromkeys(("image", "image_gallery", "both_sides_model"), ("image", 0.1))
    assert "gallery_side" not in row.attacks  # nobody tried


@pytest.mark.parametrize(
    ("needs", "noise_type", "side", "learnt_on", "goal"),
    [
        (KNOWS, None, "query", None, "image_gallery"),
        ((), None, "query", None, "image"),
        (("labels", "reference", "scores"), None, "query", None, "search"),
        (KNOWS, None, "gallery", None, "gallery_side"),
        (("gradients",), None, "both", None, "both_sides_model"),
        (KNOWS, 0, "query", "a" * 64, "universal"),
        ((), 2, "both", "a" * 64, "both_sides_universal"),
        ((), 2, "query", "b" * 64, "frozen"),
    ],
)
def test_an_attack_of_others_serves_the_goal_of_what_it_knows_and_changes(
    tables, needs, noise_type, side, learnt_on, goal
):
    said = {"settings": {"authors": "A", "link": "b", "claimed_mAP": 0.1}}
    attack = said | {"noise_type": noise_type, "learnt_on": learnt_on}
    row = row_of(tables, CLEAN, record(0.2, "external", needs=needs, side=side, attack=attack))
    assert [*row.attacks] == [goal]


def test_images_of_others_have_the_budget_that_they_may_change_in_all(tables):
    threat = {"eps_color": EPS, "eps_delta": EPS}
    said = {"settings": {"authors": "A", "link": "b", "claimed_mAP": 0.1}}
    (board,), _ = tables(CLEAN, record(0.2, "external", threat=threat, attack=said))
    assert board.title == "toy, 16/255 per component"
    noise = record(0.3, "external", "noise", threat=threat, attack=said | {"noise_type": 0, "learnt_on": "a" * 64})
    assert [board.title for board in tables(noise)[0]] == ["toy, 8/255 per component", "toy, 16/255 per component"]


OTHERS = {
    "protocol": {"protocol": {"distance": "cosine"}},
    "contents": {"dataset": {"contents": "ff" * 32}},
    "dataset": {"dataset": {"name": "other"}},
    "reading": {"victim": {"reading": "half"}, "protocol": {"reading": "half"}},
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_cannot_be_compared_is_never_in_one_table(tables, what):
    changes = OTHERS[what]
    results = [CLEAN, record(0.5, "image"), record(0.8, **changes), record(0.4, "image", **changes)]
    boards, notes = tables(*results)
    assert [[(row.clean.mAP, row.strongest.mAP) for row in board.rows] for board in boards] in (
        [[(0.9, 0.5)], [(0.8, 0.4)]],
        [[(0.8, 0.4)], [(0.9, 0.5)]],
    )
    assert not notes
    assert len({board.code for board in boards}) == 2


def test_budgets_are_apart_and_sides_are_not(tables):
    tried = record(0.5, "image"), record(0.2, "image", eps=2 * EPS), record(0.4, "image", side="both")
    boards, _ = tables(CLEAN, *tried)
    assert [(board.budget, [*board.goals]) for board in boards] == [
        ("8/255", ["image", "both_sides_model"]),
        ("16/255", ["image"]),
    ]


def test_models_have_a_line_each_the_most_robust_first(tables):
    clean = [record(0.9, model=model) for model in "abc"]
    kept = {"a": 0.2, "b": 0.6, "c": 0.4}
    (board,), _ = tables(*clean, *(record(mAP, "image", model=model) for model, mAP in kept.items()))
    assert [(row.clean.model, row.strongest.mAP) for row in board.rows] == [
        ("b/best.pth", 0.6),
        ("c/best.pth", 0.4),
        ("a/best.pth", 0.2),
    ]


class TestPartOfTheQueries:
    def test_counts_where_nothing_was_tried_on_all_and_is_marked(self, tables, build):
        part = record(0.1, "search", needs=("reference", "scores"), num_query=3)
        assert row_of(tables, CLEAN, part).strongest.mAP == 0.1
        assert "| 10.0 (3 of 9 queries) |" in build()["leaderboard.md"]

    def test_is_behind_any_attack_on_all(self, tables):
        row = row_of(tables, CLEAN, record(0.1, "image", num_query=3), record(0.5, "image"))
        assert row.attacks["image"].mAP == 0.5

    def test_is_left_out_where_it_may_be_of_several(self, tables):
        other = record(0.8, dataset={"contents": "ff" * 32})
        boards, notes = tables(
            CLEAN, other, record(0.5, "image"), record(0.1, "search", needs=("reference", "scores"), num_query=3)
        )
        assert [row.strongest.mAP for board in boards for row in board.rows] == [0.5]
        assert "Left out are 1 results of attacks" in notes[0]
        assert "1 models" not in notes[0]


def test_an_attack_without_its_clean_result_is_left_out_and_a_model_without_attacks_too(tables):
    boards, notes = tables(CLEAN, record(0.5, "image", model="b"))
    assert boards == []
    assert [note.split(":")[0] for note in notes] == [
        "Left out are 1 results of attacks",
        "Left out are 1 models, or readings or protocols of one, that were not attacked.",
    ]


class TestUnreliable:
    def test_by_the_flags_of_a_summary(self, tables, tmp_path):
        (tmp_path / "results/deep").mkdir(parents=True)
        flag = {"name": "no gradients", "detail": "they are zero", "means": "", "do": ""}
        summary = {"model": CLEAN.victim, "dataset": "toy", "protocol": CLEAN.protocol, "flags": [flag]}
        (tmp_path / "results/deep/reid-fast-v1-summary.json").write_text(json.dumps(summary))
        other = [record(0.9, model="b"), record(0.6, "image", model="b")]
        (board,), _ = tables(CLEAN, record(0.5, "image"), *other)
        assert [row.reasons for row in board.rows] == [(), ("no gradients: they are zero",)]

    def test_by_a_check_that_failed_of_an_attack_that_is_shown(self, tables):
        failed = [{"name": "converged", "passed": False, "detail": "still gaining"}]
        shown, hidden = record(0.5, "image", "shown", checks=failed), record(0.6, "image", "hidden", checks=failed)
        assert row_of(tables, CLEAN, shown, hidden).reasons == ("shown: not converged: still gaining",)

    def test_by_collapsed_features(self, tables):
        collapsed = record(0.9, metrics={"collapsed": True})
        row = row_of(tables, collapsed, record(0.5, "image"))
        assert row.reasons == ("clean: collapsed features: they hardly differ",)
