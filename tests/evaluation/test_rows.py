"""Rows of a result table: which attacks are measured, at which budgets, and what tells them apart."""

import pytest
import torch

from reid import UsageError, attacks
from reid.attacks import Threat
from reid.attacks.conversion import convert
from reid.evaluation.kinds import KINDS
from reid.evaluation.rows import Row, control_rows, file_rows, image_rows, own_rows, threats_of
from reid.runtime.files import sha256

BOTH = (0, Threat(8 / 255, 8 / 255))


@pytest.fixture
def uneven(tmp_path):
    """The file of a perturbation of 4/255 in colour, and 2/255 in delta."""
    noise = attacks.create(0, eps_color=4 / 255, eps_delta=2 / 255, height=8, width=4)
    return str(attacks.save(tmp_path / "a" / "b" / "c" / "noise.pth", noise, {"source": "own"}))


class TestFiles:
    def test_are_named_by_their_last_folders_and_known_by_their_hash(self, uneven):
        (row,) = file_rows([uneven])
        assert (row.name, row.kind, row.sha256) == ("b/c/noise.pth", "universal", sha256(uneven))
        assert row.provenance == {"source": "own"}
        assert row.attack.threat == Threat(4 / 255, 2 / 255)

    def test_take_another_budget(self, uneven):
        (row,) = file_rows([uneven], [1 / 255])
        assert row.attack.threat == Threat(1 / 255, 1 / 255)

    def test_have_budgets_of_their_own_but_for_pictures(self, uneven, tmp_path):
        convert(uneven, "png", tmp_path / "noise.png")
        rows = own_rows([uneven, str(tmp_path / "noise.png")], [1 / 255, 3 / 255])
        assert [row.attack.threat for row in rows] == [Threat(4 / 255, 2 / 255), Threat(0, 3 / 255)]


class TestThreats:
    def test_are_those_of_the_files_once(self, uneven):
        assert threats_of(file_rows([uneven, uneven])) == [(0, Threat(4 / 255, 2 / 255))]

    def test_without_files_are_the_released_one_or_that_of_a_budget(self):
        assert threats_of([]) == [BOTH]
        assert threats_of([], [0.0]) == [(0, Threat(0.0, 0.0))]

    def test_do_not_count_attacks_on_each_image(self):
        assert threats_of(image_rows(["pgd"], [BOTH], 1, 0), [4 / 255]) == [(0, Threat(4 / 255, 4 / 255))]


class TestImageAttacks:
    """Their budget is the one under evaluation, not one of their own."""

    @pytest.mark.parametrize(
        ("threat", "eps"),
        [
            (Threat(4 / 255, 4 / 255), 4 / 255),
            (Threat(4 / 255, 2 / 255), 4 / 255),
            (Threat(0.0, 2 / 255), 2 / 255),
            (Threat(16 / 255, 0.0), 16 / 255),
        ],
    )
    def test_have_the_budget_of_a_component(self, threat, eps):
        (row,) = image_rows(["pgd"], [(0, threat)], 15, 0)
        assert (row.attack.eps, row.attack.threat) == (eps, Threat(0.0, eps))
        assert row.name == f"pgd {eps * 255:.0f}/255, 15 steps"

    def test_have_the_budget_of_each_threat_once(self):
        threats = [(noise_type, Threat(eps, eps)) for noise_type in (0, 1) for eps in (4 / 255, 8 / 255)]
        assert [row.attack.eps for row in image_rows(["pgd"], threats, 15, 0)] == [4 / 255, 8 / 255]

    def test_take_as_many_steps_as_they_say_else_those_of_all(self):
        rows = image_rows(["pgd", "pgd:steps=50", "pgd:restarts=3"], [BOTH], 15, 0)
        assert [row.name for row in rows] == [
            "pgd 8/255, 15 steps",
            "pgd 8/255, 50 steps",
            "pgd 8/255, 15 steps, best of 3",
        ]
        assert rows[2].settings == {"attack": "pgd", "steps": 15, "restarts": 3}
        assert all(row.kind == "image" and row.sha256 is None for row in rows)

    def test_may_have_budgets_of_their_own_which_make_one_row(self):
        rows = image_rows(["sma:eps=4/255", "i-fgsm"], [BOTH, (2, Threat(0.0, 2 / 255))], 15, 0)
        assert [row.name for row in rows] == ["sma 4/255, 15 steps", "i-fgsm 2/255, 2 steps", "i-fgsm 8/255, 10 steps"]

    def test_of_scores_only_are_rows_of_their_kind(self):
        (row,) = image_rows(["square:calls=9"], [BOTH], 15, 3)
        assert (row.kind, row.name, row.attack.seed) == ("search", "square 8/255, 9 calls", 3)
        assert row.settings == {"attack": "square", "calls": 9, "area": row.attack.area}

    def test_are_drawn_with_the_seed_of_the_command(self):
        assert image_rows(["pgd"], [BOTH], 1, 7)[0].attack.seed == 7

    def test_with_seeds_of_their_own_are_told_apart(self):
        rows = image_rows(["pgd:seed=1", "pgd:seed=2"], [BOTH], 15, 0)
        assert [row.settings["seed"] for row in rows] == [1, 2]
        assert "seed" not in image_rows(["pgd:seed=1"], [BOTH], 15, 1)[0].settings

    def test_that_nobody_knows_are_refused(self):
        with pytest.raises(UsageError, match="no image attack is called 'odffa'; did you mean odfa"):
            image_rows(["odffa"], [BOTH], 1, 0)


class TestControls:
    def test_spend_the_whole_budget_at_random(self):
        images = torch.full((4, 3, 16, 8), 0.5)
        rows = control_rows([BOTH], seed=0, height=16, width=8)
        assert [row.name for row in rows] == ["random sign 8/255", "random LUT 8/255", "random both 8/255"]
        assert {row.kind for row in rows} == {row.attack.kind for row in rows} == {"control"}
        totals = [row.attack.measure(images)["total"] * 255 for row in rows]
        assert totals[:2] == pytest.approx([8, 8], abs=1e-3)
        assert totals[2] > totals[1]

    def test_have_the_budget_component_by_component_and_the_other_one_for_one_that_lacks(self):
        threats = [(0, Threat(4 / 255, 8 / 255)), (2, Threat(0.0, 2 / 255))]
        budgets = {row.name: row.attack.threat for row in control_rows(threats, 0, 16, 8)}
        assert budgets["random both 4/255+8/255"] == Threat(4 / 255, 8 / 255)
        assert budgets["random both 2/255"] == Threat(2 / 255, 2 / 255)
        assert len(budgets) == 6


def test_kinds_are_a_field_and_a_clean_row_has_no_provenance():
    assert Row("random thing", "universal").kind == "universal"
    assert Row("clean", "clean").provenance == {}
    assert KINDS == ("clean", "universal", "relearnt", "image", "transfer", "search", "control", "external")
