"""Flags: a model that cheats in one known way raises that flag and no other, and an honest one raises none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cheats import (
    EPS,
    INFORMED,
    OWN,
    SEARCHING,
    Court,
    collapsed,
    dazzled,
    detached,
    divided,
    folded,
    linear,
    noisy,
    other,
    shy,
    slow,
    staircase,
    steady,
    stubborn,
    victim,
)
from test_verdict import measured as measured_one
from zoo_entries import figure, write_entry

from reid import attacks
from reid.attacks import Threat
from reid.evaluation.flags import FLAGS, raised
from reid.evaluation.rows import CLEAN_ROW, Row, control_rows
from reid.evaluation.suites import Each, Suite, Universal
from reid.evaluation.verdict import Judgement

LARGE = [(2, Threat(0.0, 14 / 255))]
CHEATS = [
    ("white box weaker than search", staircase, {"suite": SEARCHING}),
    ("white box weaker than transfer", staircase, {"others": [linear]}),
    ("universal stronger than one per image", divided, {"suite": INFORMED}),
    ("one step stronger than many", shy, {"suite": replace(INFORMED, universal=())}),
    ("noise as strong as the attack", steady, {}),
    ("mAP does not fall with the budget", folded, {"threats": LARGE}),
    ("not at chance at 32/255", stubborn, {}),
    ("collapsed features", collapsed, {}),
    ("no gradients", detached, {}),
    ("features do not repeat", noisy(), {}),
    ("preprocessing was a close choice", linear, {"close": ("imagenet@8x4",)}),
    ("clean mAP away from the published one", linear, {"published": 0.5}),
    ("not converged", slow, {}),
]


@pytest.fixture
def court(tmp_path, monkeypatch):
    monkeypatch.setattr("reid.evaluation.results.versions", dict)  # which asks git each time
    return Court(tmp_path)


def names(judgement):
    return {flag["name"] for flag in raised(judgement)}


@pytest.mark.parametrize(("flag", "features", "changes"), CHEATS, ids=[flag for flag, *_ in CHEATS])
def test_a_cheat_raises_its_flag_and_no_other(court, flag, features, changes, tmp_path, monkeypatch):
    model, left = victim(features), dict(changes)
    model.close = left.pop("close", ())
    if mAP := left.pop("published", None):
        file = {"name": "toy.pth", "bytes": 3, "sha256": model.sha256}
        write_entry(tmp_path / "zoo", files=[file], published=[figure(mAP)])
        monkeypatch.setattr("reid.models.zoo.entries.FOLDER", tmp_path / "zoo")
    others = [victim(each) for each in left.pop("others", [])]
    assert names(court.judge(model, others=others, **left)) == {flag}


def test_there_is_a_cheat_for_each_flag():
    assert [flag for flag, *_ in CHEATS] == [flag.name for flag in FLAGS]


@pytest.mark.parametrize("features", [linear, dazzled])
def test_an_honest_model_raises_none(court, features):
    judgement = court.judge(victim(features), SEARCHING, others=[victim(other)])
    assert raised(judgement) == []
    worst = judgement.summary("toy")["worst"]
    assert judgement.clean.mAP > worst["universal"] > worst["image"] > worst["image_gallery"]
    assert worst["transfer_gallery"] > worst["image_gallery"]


def test_pgd_alone_is_weaker_than_search(court):
    """The old list: it pushes features where that costs nothing."""
    alone = Suite(each=(Each("pgd"), Each("square:calls=400")))
    assert names(court.judge(victim(dazzled), alone)) == {"white box weaker than search"}


def test_gradients_that_mislead_are_seen_by_a_universal_search_too(court):
    both = Suite((Universal("nearest"), Universal("query_uap")), effort={"restarts": 1, "adaptive_epochs": 6})
    for features, found in ((staircase, True), (linear, False)):
        flags = [flag for flag in raised(court.judge(victim(features), both)) if "search" in flag["name"]]
        assert [flag["detail"][:23] for flag in flags] == ["one perturbation for al"] * found


def measured(court, model, *rows):
    """A judgement of these rows alone."""
    judgement = court.plan(model, Suite()).judgement
    for result in court.experiment(model).run([CLEAN_ROW, *rows], reuse=False):
        judgement.add(result)
    return judgement


def shift(eps, weight):
    """A perturbation file that moves features as `weight` (3, 8, 4) says, within the budget."""
    noise = attacks.create(2, eps_delta=eps, height=8, width=4)
    noise.delta.data.copy_(eps * weight)
    return Row(f"shift {eps}", "universal", noise, sha256=f"{eps}".ljust(64, "0"))


def test_files_of_other_models_need_not_be_stronger_where_their_budget_is_larger(court):
    strong = torch.cat([torch.zeros(3, 3, 4), OWN[..., 0].sign()], 1)
    judgement = measured(court, victim(linear), shift(EPS, strong), shift(2 * EPS, torch.zeros(3, 8, 4)))
    weak, none = judgement.measured[1:]
    assert (weak.goal, weak.mAP < none.mAP - 0.02) == ("frozen", True)
    assert raised(judgement) == []


def test_a_budget_of_nothing_is_no_weak_attack(court):
    nothing = [(2, Threat(0.0, 0.0))]
    judgement = court.judge(victim(linear), Suite(each=(Each("pgd:steps=2"),), judges=True), nothing)
    assert raised(judgement) == []
    assert {each.mAP for each in judgement.measured} == {judgement.clean.mAP}


def test_noise_on_the_gallery_is_not_compared_with_attacks_on_queries(court):
    model, few = victim(steady), Suite(each=(Each("pgd:steps=2"),))
    plan = court.plan(model, few)
    experiment = court.experiment(model)
    sides = [("query", control_rows(plan.threats, 0, 8, 4)), ("gallery", control_rows(plan.threats, 0, 8, 4))]
    for side, controls in sides:
        judgement = court.plan(model, few).judgement
        for rows in ([CLEAN_ROW], replace(plan, judgement=judgement).rows(reuse=False)):
            for result in experiment.run(rows, reuse=False):
                judgement.add(result)
        for result in replace(experiment, side=side).run(controls, reuse=False):
            judgement.add(result)
        assert names(judgement) == ({"noise as strong as the attack"} if side == "query" else set())


def test_each_flag_says_when_it_is_raised_what_that_means_and_what_to_do():
    for flag in FLAGS:
        for text in (flag.name, flag.when, flag.means, flag.remedy):
            assert text
            assert not set("|\n") & set(text)  # which would end a cell of a table


class TestStarts:
    """A universal attack that beats all other starts by more than 5 points had not converged."""

    def judged(self, *attacks):
        clean = measured_one([0.9] * 4)
        return Judgement(np.arange(4), None, EPS, measured=[clean, *attacks])

    def starts(self, recipe, *left):
        return [measured_one([mAP] * 4, "relearnt", settings={"recipe": recipe}) for mAP in left]

    def test_that_nobody_comes_near_are_named(self):
        (flag,) = raised(self.judged(*self.starts("nearest", 0.5, 0.3, 0.6), *self.starts("cosine", 0.4)))
        words = "queries, one perturbation for all, learnt on the model"
        assert flag["detail"] == f"{words}, nearest: the best start leaves 30.0, the next 40.0"

    def test_that_another_start_or_recipe_confirms_are_not(self):
        assert raised(self.judged(*self.starts("nearest", 0.6, 0.3, 0.34))) == []
        assert raised(self.judged(*self.starts("nearest", 0.6, 0.3), *self.starts("cosine", 0.34))) == []

    def test_the_strongest_is_to_be_confirmed_by_one_that_converged(self):
        def learnt(mAP, passed):
            each = measured_one([mAP] * 4, "relearnt", settings={"recipe": "nearest"})
            check = {"name": "converged", "passed": passed, "detail": f"still gained at {mAP}"}
            return replace(each, result=replace(each.result, checks=[check]))

        assert raised(self.judged(learnt(0.3, False), learnt(0.31, True))) == []
        (flag,) = raised(self.judged(learnt(0.3, False), learnt(0.33, True)))
        assert (flag["name"], flag["detail"]) == ("not converged", "relearnt: still gained at 0.3")

    def test_of_other_perturbations_or_recipes_may_differ(self):
        recipe = {"recipe": "nearest"}
        others = [
            measured_one([0.5] * 4, "relearnt", settings=recipe, noise_type=0, color=EPS),
            measured_one([0.3] * 4, "relearnt", settings=recipe, noise_type=2),
            measured_one([0.1] * 4, "relearnt", settings={"recipe": "cosine"}, noise_type=2),
        ]
        assert raised(self.judged(*others)) == []
