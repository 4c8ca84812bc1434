"""What folders of results say of models: who is judged, by which results."""

import json

import numpy as np
import pytest
from made_up import QUERIES, judged, row, summary

from reid.errors import ReidError
from reid.report.evidence import model_names, subjects


def test_each_model_is_judged_by_its_own_results(tmp_path):
    judged(tmp_path / "a", model="A.pth")
    judged(tmp_path / "both", model="D.pth")
    row(tmp_path / "both", "clean", "clean", 0.8, model="B.pth")
    found = subjects([tmp_path])
    assert [(name, len(each.judgement.measured)) for name, each in zip(model_names(found), found, strict=True)] == [
        ("models/A.pth", 9),
        ("models/B.pth", 1),
        ("models/D.pth", 9),
    ]
    assert found[2].summary["worst"]["image"] == pytest.approx(0.3, abs=1e-3)
    assert found[1].summary["worst"]["image"] is None


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        (["vendor.onnx"], ["vendor.onnx"]),
        (["/home/x/models/D.pth"], ["models/D.pth"]),
        (["/home/x/a/D/best.pth", "/home/x/b/D/best.pth"], ["a/D/best.pth", "b/D/best.pth"]),
        (["/D.pth"], ["/D.pth"]),
        (["a/D.pth", "D.pth"], ["a/D.pth", "D.pth"]),
        (["/D/best.pth", "/b/D/best.pth"], ["/D/best.pth", "b/D/best.pth"]),
    ],
)
def test_names_are_as_long_as_it_takes_to_tell_models_apart(tmp_path, paths, shown):
    for place, path in enumerate(paths):
        row(tmp_path / str(place), "clean", "clean", 0.8, model=path)
    found = subjects([tmp_path])
    for subject, path in zip(found, paths, strict=True):
        subject.clean.victim["path"] = path
    assert model_names(found) == shown


def test_one_model_has_a_name_for_each_dataset_and_seed(tmp_path):
    for place, (dataset, seed) in enumerate([("toy", 0), ("toy", 1), ("other", 0)]):
        row(tmp_path / str(place), "clean", "clean", 0.8, dataset=dataset, seed=seed)
    assert model_names(subjects([tmp_path])) == [
        "models/D.pth on toy, seed 0",
        "models/D.pth on toy, seed 1",
        "models/D.pth on other",
    ]


def test_a_folder_that_is_given_twice_counts_once(tmp_path):
    judged(tmp_path / "a")
    assert len(subjects([tmp_path, tmp_path / "a", tmp_path])) == 1


def test_results_that_are_no_part_of_the_suite_do_not_change_its_verdict(tmp_path):
    results = judged(tmp_path)
    other = row(tmp_path, "stronger", "image", 0.01)
    summary(tmp_path, results)
    (subject,) = subjects([tmp_path])
    assert subject.suite == "reid-toy-v1"
    assert subject.summary["worst"]["image"] == pytest.approx(0.3, abs=1e-3)
    assert [each.result for each in subject.others] == [other]
    assert [each.result for each in subject.judgement.measured] == results


def test_a_suite_that_judged_another_model_counts_nothing(tmp_path):
    summary(tmp_path, judged(tmp_path, model="A.pth"))
    judged(tmp_path, model="D.pth")
    assert [(each.clean.victim["path"], each.suite) for each in subjects([tmp_path])] == [
        ("models/A.pth", "reid-toy-v1"),
        ("models/D.pth", ""),
    ]


def test_other_images_of_the_same_name_are_another_subject(tmp_path):
    judged(tmp_path)
    result = row(tmp_path, "clean", "clean", 0.7)
    path = tmp_path / result.file_name
    record = json.loads(path.read_text())
    record["dataset"]["contents"] = "others"
    path.with_name("others.json").write_text(json.dumps(record))
    path.with_suffix(".npz").rename(path.with_name("others.npz"))
    with pytest.raises(ReidError, match="not readable"):  # its arrays are under the name of another result
        subjects([tmp_path])


def test_intervals_need_to_know_who_is_who(tmp_path):
    judged(tmp_path / "known")
    judged(tmp_path / "old", pids=False)
    known, old = subjects([tmp_path / "known", tmp_path / "old"])
    assert known.summary["intervals"].keys() == {*known.summary["queries"]}
    assert old.summary["intervals"] == {}
    assert old.summary["worst"] == known.summary["worst"]
    assert list(known.judgement.pids) == list(np.arange(QUERIES) // 3)


def test_the_budget_is_the_suites_or_the_usual_one(tmp_path):
    judged(tmp_path / "usual")
    assert subjects([tmp_path / "usual"])[0].judgement.eps == 8 / 255
    results = judged(tmp_path / "own")
    summary(tmp_path / "own", results)
    path = tmp_path / "own" / "reid-toy-v1-summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eps": 4 / 255}))
    assert subjects([tmp_path / "own"])[0].summary["worst"]["image"] == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize("text", ["[]", "{}", '{"results": 3}', "not JSON"])
def test_a_damaged_summary_is_one_line(tmp_path, text):
    results = judged(tmp_path)
    name = results[0].file_name
    (tmp_path / "x-summary.json").write_text(text if text != "{}" else json.dumps({"results": [name]}))
    with pytest.raises(ReidError, match=r"x-summary\.json is no summary of a suite"):
        subjects([tmp_path])


def test_nothing_to_show_is_one_line(tmp_path):
    with pytest.raises(ReidError, match="no results of clean images"):
        subjects([tmp_path])
    row(tmp_path, "push", "image", 0.3)
    with pytest.raises(ReidError, match="no results of clean images"):
        subjects([tmp_path])
    with pytest.raises(ReidError, match="no such results folder"):
        subjects([tmp_path / "none"])
