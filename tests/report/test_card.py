"""The card of a defended model, with what a suite found before and after."""

import json

import pytest
from made_up import row

from reid.report import card
from reid.runtime import cli
from reid.training.card import Card, Told

WORST = {"universal": 0.25, "universal_equal_total": None, "image": 0.1234, "image_gallery": 0.05, "search": 0.3}
KNOWN = """\
## What is known of it

| mAP in % | clean, validation identities | clean | universal | delta at the total of both | image | image, gallery |
| --- | --- | --- | --- | --- | --- | --- |
| before | 90.0 | 50.0 | 25.0 | null | 12.3 | 5.0 |
| after | null | 75.0 | 40.0 | 30.0 | 12.3 | 5.0 |

Validation identities: by training. All else: by reid-fast-v1 on toy, 8/255 per component, seed 0: clean, universal \
and delta under the strongest perturbation, image in the worst case of each query. \
Flags before: not converged, no gradients; after: none.

    python evaluate.py --resume models/A
    python evaluate.py --resume models/D
"""


def judged(folder, model, clean, dataset="toy", **changes):
    """A folder as evaluate.py --suite reid-fast-v1 leaves it; the hash of the model."""
    folder.mkdir(exist_ok=True)
    result = row(folder, "clean", "clean", clean, model=model, dataset=dataset)
    summary = {
        "suite": "reid-fast-v1",
        "model": result.victim | {"input": {"height": 16, "mean": [0, 0, 0]}},
        "eps": 8 / 255,
        "seed": 0,
        "protocol": result.protocol,
        "clean": clean,
        "worst": WORST,
        "flags": [],
        "command": result.command,
        "results": [result.file_name],
    }
    (folder / "reid-fast-v1-summary.json").write_text(json.dumps(summary | changes))
    return result.victim["sha256"]


@pytest.fixture
def options(tmp_path):
    """`options(**changes)`: those of the command, for a card of models that were judged, the second with changes."""

    def write(**changes):
        flags = [{"name": "not converged"}, {"name": "no gradients"}]
        better = WORST | {"universal": 0.4, "universal_equal_total": 0.3}
        hashes = (
            judged(tmp_path / "before", "A", 0.5, flags=flags),
            judged(tmp_path / "after", "D", 0.75, **({"worst": better} | changes)),
        )
        model = tmp_path / "defended" / "model_best.onnx"
        Card([("model", "A")], {"seed": "0"}, hashes, {"before": 0.9, "after": None}, "toy", ["A", "D"]).write(model)
        return [str(model.parent), "--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]

    return write


@pytest.fixture
def text(tmp_path):
    return (tmp_path / "defended" / "card.md").read_text


def test_what_was_found_takes_the_place_of_null(options, text, capsys):
    argv = options()
    before = text()
    assert before.count("| null |") == 2
    for _ in range(2):  # what is written is a card again
        card.main(argv)
        assert text() == before.partition("## What is known of it")[0] + KNOWN
        assert capsys.readouterr().out in KNOWN


def test_a_second_training_goes_on_from_the_card_of_the_first(options, text, tmp_path):
    card.main(options())
    first, start = text(), tmp_path / "defended" / "model_best.onnx"
    hashes = (Told.by(first).hashes[-1], judged(tmp_path / "last", "E", 0.5, worst=WORST))
    model = tmp_path / "again" / start.name
    told = Told.of(start, hashes[0])
    Card(
        [("model", "D")], {"seed": "0", "lr": "7"}, hashes, {"before": 0.1, "after": 0.8}, "toy", ["D", "E"], told
    ).write(model)
    written = model.with_name("card.md").read_text()
    assert written.startswith(first.partition("## What is known of it")[0])
    assert "## What was done next\n\n|  |  |\n| --- | --- |\n| learning rate | 7 |\n| seed | 0 |\n" in written
    assert "| before | 90.0 | null |\n| after | 80.0 | null |" in written
    assert "    python evaluate.py --suite reid-fast-v1 -d toy --resume models/A --results before\n" in written
    last = ["--after", str(tmp_path / "last")]
    card.main([str(model.parent), "--before", str(tmp_path / "after"), *last])  # between the trainings
    assert "| before | null | 75.0 | 40.0 |" in model.with_name("card.md").read_text()
    model.with_name("card.md").write_text(written)
    card.main([str(model.parent), "--before", str(tmp_path / "before"), *last])
    assert "| before | 90.0 | 50.0 | 25.0 |" in model.with_name("card.md").read_text()
    assert told.score({"seed": "7"}) == "null"  # other validation identities
    command = "python evaluate.py --preprocessing own -d toy --weights 'my files' --resume zoo:x --suite reid-fast-v1"
    assert told._replace(commands=[command]).spec() == "zoo:x --preprocessing own --weights 'my files'"
    assert [told._replace(commands=each).spec() for each in ([], ["python 'x"], ["python x"])] == [None] * 3
    assert Told.of(start, hashes[1]) is None  # a card of another file
    assert Told.of(tmp_path / "nowhere" / start.name, hashes[0]) is None


def refused(argv, capsys):
    with pytest.raises(SystemExit) as left:
        cli.run(card.main, argv)
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "differ in seed (0, 1); evaluate both models in the same way"),
        ({"eps": 4 / 255}, "differ in budget (8/255, 4/255); "),
        ({"dataset": "other"}, "differ in dataset name (toy, other); "),
        ({"protocol": {"distance": "cosine"}}, "differ in distance (euclidean, cosine), height (16, None), "),
        ({"results": []}, "is no whole summary of a suite (IndexError"),
        ({"worst": {"universal": 0.1}}, "is no whole summary of a suite (KeyError('universal_equal_total')"),
        ({"eps": None}, "is no whole summary of a suite (TypeError"),
    ],
)
def test_models_that_were_judged_otherwise_are_refused(changes, words, options, text, capsys):
    argv = options(**changes)
    before = text()
    assert words in refused(argv, capsys)
    assert text() == before


def test_other_inputs_are_other_ways_to_judge(options, tmp_path, capsys):
    argv = options()
    path = tmp_path / "after" / "reid-fast-v1-summary.json"
    path.write_text(path.read_text().replace('"mean": [0, 0, 0]', '"mean": [0, 0, 1]'))
    assert "differ in input mean ([0, 0, 0], [0, 0, 1]); " in refused(argv, capsys)


def test_results_of_other_models_are_refused(options, text, tmp_path, capsys):
    folder = options()[0]
    before = text()
    exchanged = [folder, "--before", str(tmp_path / "after"), "--after", str(tmp_path / "before")]
    line = refused(exchanged, capsys)
    assert f"{tmp_path / 'after'} is about models/D (SHA-256 D-0000000000), not the model before in {folder}" in line
    assert "(A-0000000000); evaluate that one" in line
    assert text() == before


def test_what_is_not_there_is_named(options, tmp_path, capsys):
    argv = options()
    assert "no-summary.json; run evaluate.py --suite no --res" in refused([*argv, "--suite", "no"], capsys)
    (tmp_path / "defended" / "card.md").write_text("# Notes of mine")
    assert "card.md is no card of this version; run its command again" in refused(argv, capsys)
    (tmp_path / "defended" / "card.md").unlink()
    assert "card.md is no readable card" in refused(argv, capsys)
