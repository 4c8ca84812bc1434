from dataclasses import FrozenInstanceError

import pytest

from reid import UsageError
from reid.attacks import Threat, format_budget, parse_budget


@pytest.mark.parametrize(
    ("text", "value"),
    [("8/255", 8 / 255), ("0.03", 0.03), (8 / 255, 8 / 255), ("0", 0.0), (0, 0.0), (" 4 / 255 ", 4 / 255), (1, 1.0)],
)
def test_a_budget_is_a_fraction_or_a_number(text, value):
    assert parse_budget(text) == value


@pytest.mark.parametrize("text", ["eight", "8/", "8/0", "/255", "", "8/255/2", "nan", "-1/255", "inf", "300", -0.1])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(UsageError):
        parse_budget(text)


def test_a_budget_in_grey_levels_gets_a_hint():
    with pytest.raises(UsageError, match="did you mean 8/255"):
        parse_budget("8")


@pytest.mark.parametrize("level", range(256))
def test_budgets_in_grey_levels_survive_a_round_trip(level):
    text = format_budget(level / 255)
    assert text == f"{level}/255"
    assert parse_budget(text) == level / 255


def test_a_budget_between_grey_levels_is_written_with_decimals():
    assert format_budget(0.03) == "7.65/255"


def test_components_add_up():
    threat = Threat(8 / 255, 4 / 255)
    assert threat.eps_total == pytest.approx(12 / 255)
    assert threat.components == ("color", "delta")
    assert Threat(0.75, 0.5).eps_total == 1.0


@pytest.mark.parametrize(
    ("threat", "label"),
    [
        (Threat(8 / 255, 8 / 255), "colour 8/255 + delta 8/255 (total 16/255), query side"),
        (Threat(8 / 255, 0, "gallery"), "colour 8/255, gallery side"),
        (Threat(0, 2 / 255, "both"), "delta 2/255, both sides"),
        (Threat(0, 0), "no change, query side"),
    ],
)
def test_a_label_never_leaves_the_budget_open(threat, label):
    assert threat.label == label


@pytest.mark.parametrize("eps", [-0.1, 1.1, 8, float("nan"), "8/255", None, True])
def test_budgets_outside_the_range_of_images_are_refused(eps):
    with pytest.raises(UsageError, match="eps_color"):
        Threat(eps, 0.0)
    with pytest.raises(UsageError, match="eps_delta"):
        Threat(0.0, eps)


def test_an_unknown_side_is_refused():
    with pytest.raises(UsageError, match="query, gallery, both"):
        Threat(0.0, 0.1, "probe")


def test_a_threat_is_plain_data_and_never_changes():
    threat = Threat(8 / 255, 4 / 255, "both")
    assert threat.to_dict() == {"eps_color": 8 / 255, "eps_delta": 4 / 255, "side": "both"}
    assert Threat.from_dict(threat.to_dict()) == threat
    with pytest.raises(FrozenInstanceError):
        threat.eps_color = 1.0


@pytest.mark.parametrize("values", [{}, {"eps_color": 0.1}, {"eps_color": 0.1, "eps_delta": 0.1, "eps": 0.1}])
def test_a_dict_of_other_fields_is_no_threat(values):
    with pytest.raises(UsageError, match="eps_color, eps_delta and side"):
        Threat.from_dict(values)
