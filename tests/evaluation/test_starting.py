"""Which of the sets of a defence serves to choose the epoch, and to try readings."""

from pathlib import Path

import pytest

from reid.datasets import Dataset, Release, Sample
from reid.evaluation.detective import tells_apart
from reid.evaluation.starting import judge


def people(count, cameras, start=0):
    numbers = range(start, start + count)
    return [Sample(f"{pid}_{camid}.jpg", pid, camid) for pid in numbers for camid in range(cameras)]


def dataset(name="mine", trainval=(), query=(), gallery=()):
    splits = {"trainval": [*trainval], "query": [*query], "gallery": [*gallery]}
    return Dataset(name, Path("images"), splits, 2, Release(name))


GOOD = dataset("good", people(20, 2))
TESTED = people(9, 2, start=100)
STRANGERS = [Sample(f"{number}.jpg", -1, 0) for number in range(9)]


@pytest.mark.parametrize(
    "source",
    [
        dataset(),
        dataset(trainval=STRANGERS),
        dataset(trainval=people(20, 1)),
        dataset(trainval=people(20, 1), query=TESTED[::2], gallery=TESTED),
        dataset(trainval=[*people(2, 2), *people(30, 1, start=2)]),
    ],
    ids=["empty", "no identities", "one camera", "one camera to train on", "few under two cameras"],
)
def test_the_epoch_is_chosen_by_the_first_set_that_can_be_validated_on(source, caplog):
    caplog.set_level("INFO")
    assert judge([source, GOOD], labelled=False) is GOOD
    assert "chosen by mAP on the validation identities of good" in caplog.text
    assert judge([source], labelled=False) is None
    assert "there is no validation mAP, so the last epoch is kept" in caplog.text
    assert judge([source, GOOD], labelled=True) is source  # whose validation then says what is wrong


def test_the_source_comes_first_and_nothing_is_said(caplog):
    caplog.set_level("INFO")
    other = dataset("other", people(20, 2))
    assert judge([other, GOOD], labelled=False) is other
    assert not caplog.text


def test_readings_are_told_apart_by_people_of_either_side_up_to_enough():
    found = [dataset(), dataset(trainval=STRANGERS), dataset(trainval=people(9, 1)), dataset(trainval=people(3, 2))]
    assert [*map(tells_apart, found)] == [0, 0, 0, 3]
    enough = [GOOD, dataset(trainval=people(9, 1), query=TESTED[::2], gallery=TESTED), dataset(trainval=people(5, 2))]
    assert [*map(tells_apart, enough)] == [5, 5, 5]
    assert max([*found, *enough], key=tells_apart) is GOOD
