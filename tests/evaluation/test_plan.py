"""The rows of a suite: what is attacked, on which side, with which budget, by whom, in turn."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from cheats import EPS, THREATS, Court, detached, linear, other, victim

from reid import UsageError, attacks
from reid.attacks import Threat
from reid.attacks.universal.perturbations import Perturbation
from reid.evaluation import plan as plans
from reid.evaluation.kinds import RELEARNT, SEARCH, TRANSFER, UNIVERSAL
from reid.evaluation.plan import knows_training, possible, surrogates_of
from reid.evaluation.rows import CLEAN_ROW, image_rows
from reid.evaluation.suites import Each, Suite, Universal

BOTH = [(0, Threat(EPS, EPS))]
QUICK = {"restarts": 1, "adaptive_epochs": 1}


@pytest.fixture
def court(tmp_path, monkeypatch):
    monkeypatch.setattr("reid.evaluation.results.versions", dict)
    return Court(tmp_path)


@pytest.fixture
def planned(court):
    """`planned(universal, each, ...)`: the rows of a suite in turn, with their results judged, and the judgement."""

    def run(*entries, model=linear, threats=THREATS, others=(), judge=True, **suite):
        universal = tuple(entry for entry in entries if isinstance(entry, Universal))
        each = tuple(entry for entry in entries if isinstance(entry, Each))
        suite = Suite(universal, each, effort=QUICK, judges=True, **suite)
        plan = court.plan(victim(model), suite, threats, [victim(other) for other in others])
        experiment, rows = court.experiment(victim(model)), []
        for result in experiment.run([CLEAN_ROW], reuse=False):
            plan.judgement.add(result)
        for row in plan.rows(reuse=False):
            rows.append(row)
            if judge:
                for result in experiment.run([row], reuse=False):
                    plan.judgement.add(result)
        return rows, plan.judgement

    return run


def test_entries_say_the_side_and_the_budget(planned):
    rows, judgement = planned(
        Universal("none", "gallery"),
        Universal("none", scale=0.5),
        Each("pgd:steps=1", "both", scale=2.0),
        Each("square:calls=1"),
    )
    assert [row.side for row in rows] == ["gallery", "query", "both", "query"]
    assert [row.attack.threat.eps_delta for row in rows] == pytest.approx([EPS, EPS / 2, 2 * EPS, EPS])
    assert [row.kind for row in rows] == [RELEARNT, RELEARNT, "image", SEARCH]
    goals = [each.goal for each in judgement.measured]
    assert goals == [None, "gallery_side_universal", "universal", "both_sides_model", "search"]
    assert rows[0].attack.threat.side == "gallery"  # it was learnt for that side
    assert "gallery side" in rows[0].name
    assert "both sides" in rows[2].name


def test_a_budget_is_never_more_than_all(planned):
    rows, _ = planned(Each("pgd:steps=1", scale=4.0), threats=[(2, Threat(0.0, 0.5))])
    assert rows[0].attack.eps == 1.0


def test_one_component_alone_has_the_total_and_says_so(planned):
    rows, judgement = planned(Universal("none", alone="delta"), Universal("none"), threats=BOTH)
    assert [row.attack.threat for row in rows] == [Threat(0.0, 2 * EPS), Threat(EPS, EPS)]
    assert [each.goal for each in judgement.measured[1:]] == ["universal_equal_total", "universal"]
    assert judgement.worst("universal_equal_total").mAP <= judgement.clean.mAP


def test_each_budget_is_attacked(planned):
    rows, _ = planned(
        Universal("none"), Each("pgd:steps=1"), threats=[(2, Threat(0.0, EPS)), (2, Threat(0.0, EPS / 2))]
    )
    assert sorted(row.attack.threat.eps_delta for row in rows) == pytest.approx([EPS / 2, EPS / 2, EPS, EPS])


def test_only_queries_that_still_stand_are_attacked(planned):
    rows, judgement = planned(Each("smooth-ap:steps=5"), Each("margin:steps=5", standing=True))
    first, second = judgement.measured[1:]
    standing = np.flatnonzero(np.fmin(first.precision, judgement.clean.precision) > judgement.chance)
    assert 0 < len(standing) < 12
    assert rows[1].queries == tuple(standing)
    np.testing.assert_array_equal(~np.isnan(second.precision), np.isin(np.arange(12), standing))
    assert rows[1].name.endswith(f", {len(standing)} queries")


def test_nothing_is_attacked_where_nothing_stands(planned, caplog):
    caplog.set_level(logging.INFO)
    rows, _ = planned(Each("smooth-ap:steps=9,eps=32/255"), Each("margin:eps=32/255", standing=True))
    assert len(rows) == 1
    assert "margin 32/255, 50 steps: nothing stands any more" in caplog.text


def test_who_stands_is_asked_within_a_knowledge_level(planned):
    """An attacker who does not know the gallery has not seen what one who does brought down."""
    rows, _ = planned(Each("smooth-ap:steps=9,eps=32/255"), Each("cosine:steps=1,eps=32/255", standing=True))
    assert rows[1].queries == tuple(range(12))


def test_longer_rows_take_more_steps_on_the_same_queries(planned, monkeypatch):
    monkeypatch.setattr(plans.Judgement, "some", lambda self, share, seed: (1, 5) if share == 0.1 else None)
    rows, judgement = planned(Each("pgd:steps=2,restarts=2", longer=(2, 4)), Each("square:calls=3", longer=(2,)))
    assert [(row.settings.get("steps"), row.settings.get("calls"), row.queries) for row in rows] == [
        (2, None, None),
        (4, None, (1, 5)),
        (8, None, (1, 5)),
        (None, 3, None),
        (None, 6, (1, 5)),
    ]
    assert rows[1].attack == replace(rows[0].attack, steps=4)
    summary = judgement.summary("toy")["optimality"]
    assert [(each["queries"], list(each["mAP"])) for each in summary] == [(2, ["1x", "2x", "4x"]), (2, ["1x", "2x"])]


def test_a_share_of_the_queries_is_the_same_for_all(planned, monkeypatch):
    asked = []
    monkeypatch.setattr(plans.Judgement, "some", lambda self, share, seed: asked.append((share, seed)) or (0, 3))
    rows, _ = planned(Each("pgd:steps=1", share=0.25), Each("square:calls=1", share=0.25))
    assert [row.queries for row in rows] == [(0, 3), (0, 3)]
    assert asked == [(0.25, 0)] * 2


def test_transfers_are_made_on_each_other_model(planned):
    rows, judgement = planned(transfer=("pgd:steps=1", "smooth-ap:steps=1"), others=[other, linear])
    assert [(row.kind, row.settings["attack"], row.settings["surrogate"]) for row in rows] == [
        (TRANSFER, "pgd", "other 0"),
        (TRANSFER, "pgd", "other 1"),
        (TRANSFER, "smooth-ap", "other 0"),
        (TRANSFER, "smooth-ap", "other 1"),
    ]
    assert {row.side for row in rows} == {"query"}
    matrix = judgement.summary("toy")["transfer"]
    assert [list(row) for row in matrix.values()] == [["pgd", "smooth-ap"]] * 2
    assert rows[2].attack.known["reference"].features.shape == (24, 8)


def test_transfers_onto_the_same_model_are_its_own_attacks(planned):
    """The surrogate sees the gallery by its own features: where it is the model itself, nothing changes."""
    _, judgement = planned(Each("smooth-ap:steps=5"), transfer=("smooth-ap:steps=5",), others=[linear])
    own, made = judgement.measured[1:]
    np.testing.assert_array_equal(own.precision, made.precision)
    assert (own.goal, made.goal) == ("image_gallery", "transfer_gallery")


def test_without_other_models_there_are_no_transfers(planned):
    rows, _ = planned(transfer=("pgd:steps=1",), frozen="none")
    assert rows == []


def test_what_is_learnt_on_others_is_frozen_and_a_start(planned, caplog):
    caplog.set_level(logging.INFO)
    rows, judgement = planned(Universal("none", warm=True), frozen="none", others=[other])
    frozen, own, warm = rows
    assert (frozen.kind, frozen.name.endswith(", learnt on other 0")) == (UNIVERSAL, True)
    assert [row.kind for row in (own, warm)] == [RELEARNT] * 2
    assert warm.provenance["warm_start"] == frozen.sha256
    assert [each.goal for each in judgement.measured[1:]] == ["frozen", "universal", "universal"]


def test_progress_is_told(planned, caplog):
    caplog.set_level(logging.INFO)
    planned(Universal("none"), Each("pgd:steps=1"))
    told = [record.message for record in caplog.records if record.message.startswith("attack ")]
    assert [line.partition(":")[0].partition(",")[0] for line in told] == ["attack 1 of 2", "attack 2 of 2"]
    assert "left" in told[1]


class TestWithoutGradients:
    ENTRIES = (
        Universal("nearest"),
        Universal("query_uap"),
        Each("cosine"),
        Each("square:calls=2"),
        Each("pgd", "gallery"),
    )

    def test_only_what_needs_none_is_left(self, planned, caplog):
        caplog.set_level(logging.INFO)
        rows, judgement = planned(
            *self.ENTRIES, model=detached, transfer=("pgd:steps=1",), others=[other], frozen="none"
        )
        assert [row.kind for row in rows] == [UNIVERSAL, SEARCH, SEARCH, TRANSFER]
        goals = ["frozen", "search_universal", "search", "transfer"]
        assert [each.goal for each in judgement.measured[1:]] == goals
        (line,) = (record.message for record in caplog.records if "no gradients" in record.message)
        assert line == "the model gives no gradients; left out is what needs them: nearest, cosine, pgd"

    def test_a_list_of_the_users_own_is_refused(self, court):
        with pytest.raises(UsageError, match="needs gradients"):
            court.judge(victim(detached), Suite(each=(Each("pgd:steps=1"),)))

    def test_the_rest_of_the_suite_stays(self):
        suite = Suite(self.ENTRIES[:2], self.ENTRIES[2:], ("pgd",), "nearest", judges=True)
        left = replace(suite, universal=(Universal("query_uap"),), each=(Each("square:calls=2"),))
        assert possible(suite, victim(detached)) == left
        assert possible(suite, victim(linear)) == suite

    def test_another_model_without_any_is_refused(self, court, monkeypatch):
        monkeypatch.setattr(plans, "load_victim", lambda spec, **reading: victim(detached))
        with pytest.raises(UsageError, match=r"--transfer-from b\.onnx gives no gradients"):
            surrogates_of(["b.onnx"], court.retrieval(victim(linear)), None)


def test_knows_training_images_where_an_attack_does():
    def knows(*specs, transfer=(), universal=()):
        return knows_training(Suite(universal, tuple(map(Each, specs)), transfer), THREATS, 15, 0)

    assert not knows("pgd", "square")
    assert knows("pgd", "cosine")
    assert knows("pgd", transfer=("cosine",))
    assert knows(universal=(Universal("none"),))
    with pytest.raises(UsageError, match="no image attack is called 'cosin'"):
        knows("cosin", universal=(Universal("none"),))


def test_files_of_another_size_or_that_the_model_met_are_no_starts(court):
    plan = court.plan(victim(linear), Suite(effort=QUICK))
    rows = [
        plans.Row(name, UNIVERSAL, attacks.create(noise_type, EPS, EPS, height, 4), name)
        for name, noise_type, height in (("a", 2, 8), ("b", 2, 16), ("c", 1, 8), ("d", 2, 8))
    ]
    plan.relearning.victim.met = "d, e"
    starts = plans.starts_of([*rows, *image_rows(["pgd"], THREATS, 1, 0)], plan.relearning)
    assert [start.sha256 for start in starts] == ["a", "c"]
    assert all(isinstance(start.noise, Perturbation) for start in starts)


def test_other_rows_come_before_and_after_and_only_attacks_are_counted(court, caplog):
    caplog.set_level(logging.INFO)
    suite = Suite(each=(Each("pgd:steps=1"), Each("square:calls=1")), judges=True)
    first, last = [CLEAN_ROW, replace(CLEAN_ROW, name="file")], [replace(CLEAN_ROW, name="control")]
    names = [row.name for row in court.plan(victim(linear), suite).rows(False, first, last)]
    assert (names[:2], names[-1], len(names)) == (["clean", "file"], "control", 5)
    assert "attack 1 of 2: pgd:steps=1" in caplog.messages
