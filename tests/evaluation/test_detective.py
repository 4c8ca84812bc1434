"""Models that want their images in ways that nobody says: which way is found, and when it stays open."""

import copy
import logging
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from people import network, people, source
from ranks import together

from reid import UsageError, datasets
from reid.evaluation.detective import Finding, choose_victim, conclude, examine, table
from reid.models.inputs import preprocessing
from reid.models.readings import PREPROCESSINGS
from reid.models.sources import Source, open_model
from reid.runtime.device import resolve
from reid.synthperson import __main__ as synthperson

CPU = resolve("cpu", "fp32")
SIZE = (24, 12)
STRANGERS = Path(os.environ.get("REID_STRANGERS", Path(__file__).parents[3] / "shared" / "strangers"))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    return people(tmp_path_factory.mktemp("people"))


def wanting(name, **options):
    return network(preprocessing(name, *SIZE), **options)


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_what_a_model_wants_is_found(name, crowd):
    findings, verdict = examine(source(wanting(name)), crowd, CPU, size=SIZE, workers=0)
    assert (verdict.chosen, verdict.close, verdict.clear) == (name, [], True)
    assert findings[0].mAP > 0.9
    assert findings == sorted(findings, key=lambda each: -each.mAP)
    assert len(findings) == len(PREPROCESSINGS)


def test_the_choice_is_the_same_each_time(crowd):
    first, second = (examine(source(wanting("half")), crowd, CPU, size=SIZE, workers=0) for _ in range(2))
    assert first == second


def of_half(dataset):
    return examine(source(wanting("half")), dataset, CPU, size=SIZE, workers=0)


def test_several_processes_find_what_one_does(tmp_path):
    dataset = people(tmp_path, count=40)  # whose gallery has two batches
    (first,), (second,) = together(2, [partial(of_half, dataset)], tmp_path)
    assert first == second == of_half(dataset)


def test_the_other_distance_is_in_the_table(crowd):
    def long(images):
        features = wanting("half")(images)
        return features * (1 + 100 * images.mean((1, 2, 3))[:, None].abs())

    findings, verdict = examine(source(long, distance="cosine"), crowd, CPU, size=SIZE, workers=0)
    assert findings[0].mAP > 0.9 > findings[0].others["euclidean"]
    head, first, *_ = table(findings, verdict)
    assert head.endswith("mAP   rank-1   euclidean")
    assert f"{findings[0].others['euclidean']:.3f}" in first


def test_the_victim_reads_images_so(crowd, caplog):
    with caplog.at_level(logging.INFO):
        victim = choose_victim(source(wanting("255-bgr")), None, crowd, CPU, size=SIZE, workers=0)
    assert (victim.reading, victim.input) == ("255-bgr", preprocessing("255-bgr", *SIZE, resize=None))
    assert "stripes:net: clean mAP on images of stripes, as it reads them" in caplog.text
    assert "; chosen" in caplog.text or " chosen" in caplog.text
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_readings_that_are_as_good_are_refused_by_name_for_an_unknown_model(crowd):
    anyhow = wanting("half", order=False)
    with pytest.raises(UsageError, match="these readings are as good: half, half-bgr; choose one of them as --prepro"):
        choose_victim(source(anyhow), "auto", crowd, CPU, size=SIZE, workers=0)


def test_a_models_own_reading_stays_unless_another_is_better_beyond_the_interval(crowd):
    own = preprocessing("half", *SIZE)
    findings, verdict = examine(source(wanting("half", order=False), own), crowd, CPU, workers=0)
    assert (verdict.chosen, verdict.close) == ("own", ["half-bgr"])
    rows = table(findings, verdict)
    assert any("own " in row and "the model's own, as half; chosen" in row for row in rows)
    assert any("half-bgr " in row and "as good within the interval" in row for row in rows)
    findings, verdict = examine(source(wanting("255"), own), crowd, CPU, workers=0)
    assert (verdict.chosen, verdict.clear) == ("255", True)
    (row,) = [row for row in table(findings, verdict) if row.strip().startswith("own ")]
    assert "features of different people hardly differ; likely cause: the range of values" in row


def test_the_networks_that_fit_the_keys_are_tried(crowd):
    made = {"wrong stem": lambda images: images[:, 1:].mean((2, 3)), "right stem": wanting("half")}
    both = Source("x.pth", "ab", made.get, lambda variant: preprocessing("half", *SIZE), ("wrong stem", "right stem"))
    _, verdict = examine(both, crowd, CPU, workers=0)
    assert (verdict.chosen, verdict.clear) == ("own/right stem", True)
    assert choose_victim(both, "auto", crowd, CPU, workers=0).reading == "own/right stem"


@pytest.mark.parametrize("size", [(128, 64), (384, 128)])
def test_a_size_that_nobody_knows_is_found(size, crowd):
    _, verdict = examine(source(wanting("half", height=size[0])), crowd, CPU, workers=0)
    assert (verdict.chosen, verdict.clear) == (f"half@{size[0]}x{size[1]}", True)


def test_the_usual_size_stays_where_it_does_not_matter(crowd):
    findings, verdict = examine(source(wanting("half")), crowd, CPU, workers=0)
    assert verdict.chosen == "half"
    assert {"half@384x128", "half@128x64", "half@224x224"} <= {each.name for each in findings}
    assert len({each.name for each in findings}) == len(findings)


def test_a_size_that_a_model_does_not_take_is_left_out(crowd, caplog):
    only = wanting("half")

    def rigid(images):
        return only(images.view(-1, 3, 256, 128))

    with caplog.at_level(logging.INFO):
        _, verdict = examine(source(rigid), crowd, CPU, workers=0)
    assert verdict.chosen == "half"
    assert "half@224x224 is left out: stripes:net fails on images 3x3x224x224" in caplog.text


def test_readings_that_give_nan_are_left_out(crowd, caplog):
    def fragile(images):
        return wanting("half")(images) * (1 if images.min() < -0.1 else float("nan"))

    with caplog.at_level(logging.INFO):
        _, verdict = examine(source(fragile), crowd, CPU, size=SIZE, workers=0)
    assert verdict.chosen == "half"
    assert "255 is left out: stripes:net gives features that are NaN" in caplog.text
    with pytest.raises(UsageError, match="NaN or infinite"):
        examine(source(lambda images: images.flatten(1) * float("nan")), crowd, CPU, size=SIZE, workers=0)


def test_one_camera_cannot_tell(tmp_path):
    with pytest.raises(UsageError, match="nobody on the images of stripes is known to be under two cameras"):
        examine(source(wanting("half")), people(tmp_path, cameras=1), CPU, size=SIZE, workers=0)


@pytest.mark.parametrize("count", [0, 3, 24])
def test_training_people_tell_where_others_are_too_few(count, crowd, caplog):
    """As of a set that is drawn to be trained on."""
    few = copy.copy(crowd)
    few.trainval = [*crowd.query, *crowd.gallery]
    few.query, few.gallery = ([each for each in side if each.pid <= count] for side in (crowd.query, crowd.gallery))
    with caplog.at_level(logging.INFO):
        assert choose_victim(source(wanting("half")), None, few, CPU, size=SIZE, workers=0).reading == "half"
    said = "stripes has too few test people, so readings are tried on its training people" in caplog.text
    assert said is (count < 24)


def test_people_under_one_camera_take_no_place_of_those_who_are_found_again(crowd):
    mixed, often = copy.copy(crowd), [*crowd.query, *crowd.gallery]
    mixed.trainval = [*often, *(replace(often[0], pid=pid) for pid in range(1000, 1400))]
    mixed.query = mixed.gallery = []
    findings, verdict = examine(source(wanting("half")), mixed, CPU, size=SIZE, workers=0)
    assert (verdict.chosen, verdict.clear) == ("half", True)
    assert all(len(each.by_identity) == 24 for each in findings)


def test_people_of_many_images_tell_too(tmp_path):
    """A first look that has few images of each would have few people, who decide nothing."""
    findings, verdict = examine(
        source(wanting("half")), people(tmp_path, count=8, cameras=60), CPU, size=SIZE, workers=0
    )
    assert (verdict.chosen, verdict.clear) == ("half", True)
    assert all(len(each.by_identity) >= 5 for each in findings)


def test_images_without_names_cannot_tell(crowd):
    nameless = copy.copy(crowd)
    nameless.trainval = [replace(each, pid=-1) for each in crowd.gallery]
    nameless.query = nameless.gallery = []
    with pytest.raises(UsageError, match="nobody on the images of stripes is known to be under two cameras"):
        examine(source(wanting("half")), nameless, CPU, size=SIZE, workers=0)


def test_few_people_decide_nothing(tmp_path, caplog):
    few = people(tmp_path, count=3)
    _, verdict = examine(source(wanting("255"), preprocessing("half", *SIZE)), few, CPU, workers=0)
    assert verdict.chosen == "own"
    assert "stripes has 3 identities to find again, too few to tell readings apart" in caplog.text
    with pytest.raises(UsageError, match="these readings are as good: 255, "):
        choose_victim(source(wanting("255")), None, few, CPU, size=SIZE, workers=0)


def test_readings_that_lag_far_behind_on_few_images_are_not_tried_on_more(tmp_path):
    """They are beaten, whatever they have on the few, which are easier."""
    findings, verdict = examine(
        source(wanting("half")), people(tmp_path, count=64, cameras=4), CPU, size=SIZE, workers=0
    )
    far = [each.name for each in findings if each.far]
    assert (verdict.chosen, verdict.clear) == ("half", True)
    assert {"255", "caffe"} <= set(far) == {each.name for each in findings[-len(far) :]}
    assert sum("far behind on fewer images" in line for line in table(findings, verdict)) == len(far)
    for count, clear in ((8, True), (3, False)):
        easier = finding("b", [0.9] * count)._replace(far=True)
        assert conclude([finding("a", [0.7] * count), easier]).clear is clear


def finding(name, values):
    return Finding(name, preprocessing("unit", *SIZE), sum(values) / len(values), 0.5, dict(enumerate(values)), 0.1)


def test_small_differences_on_many_people_count_and_on_others_do_not():
    steady = finding("a", [0.51 + i / 100 for i in range(30)]), finding("b", [0.5 + i / 100 for i in range(30)])
    assert conclude(steady).clear
    ragged = finding("a", [0.52] * 30), finding("b", [0.0, 1.0] * 15)
    assert conclude(ragged).close == ["b"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The people of the demo."""
    root = tmp_path_factory.mktemp("drawn")
    synthperson.main(["synth-a", "--root", str(root)])
    return datasets.create("synth-a", root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reading", "usual", "mAP", "close"),
    [
        ("osnet_x0_25_msmt17.onnx", "own", "imagenet", 0.765, "half"),
        ("person-reidentification-retail-0288.xml", "own", "255-bgr", 0.890, None),
    ],
)
def test_the_strangers_are_read_as_their_authors_do(name, reading, usual, mAP, close, drawn):
    if not (STRANGERS / name).is_file():
        pytest.skip(f"no {STRANGERS / name}; REID_STRANGERS names the folder")
    pytest.importorskip("onnx2pytorch" if name.endswith("onnx") else "openvino")
    torch.set_num_threads(1)
    findings, verdict = examine(open_model(STRANGERS / name), drawn, CPU)
    assert (verdict.chosen, verdict.clear) == (reading, True)
    chosen = next(finding for finding in findings if finding.name == reading)
    assert chosen.input.usual == usual
    assert chosen.mAP == pytest.approx(mAP, abs=0.02)
    assert close is None or close in verdict.close
