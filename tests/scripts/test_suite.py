"""evaluate.py with a suite that judges: a summary, a curve, and a killed run that goes on to the same files."""

import json

import pytest
from test_wrong_input import failure
from tiny_market import SIZE

import evaluate
from reid import attacks, datasets, models
from reid.datasets.contents import contents_sha256
from reid.evaluation import experiment
from reid.evaluation.results import read_results
from reid.evaluation.suites import SUITES, Each, Suite, Universal

TINY = Suite(
    universal=(Universal("nearest", "query", warm=True),),
    each=(
        Each("cosine:steps=2,restarts=1", "query", longer=(2,)),
        Each("smooth-ap:steps=1,restarts=1", "query", standing=True),
        Each("square:calls=2", "query", share=0.1),
    ),
    effort={"restarts": 1, "adaptive_epochs": 1},
    judges=True,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(SUITES._places, "reid-smoke-v1", TINY)


@pytest.fixture
def judge(victim, data, capsys):
    """`judge(folder, *options)`: what evaluate.py prints, and the summary that it leaves."""

    def run(folder, *options):
        shared = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--batch_size", "8"]
        more = ["--num-instances", "4", "--adaptive-iters", "2", "--suite", "reid-smoke-v1", "--results", str(folder)]
        evaluate.main([*shared, *more, *options])
        return capsys.readouterr().out, json.loads((folder / "reid-smoke-v1-summary.json").read_text())

    return run


def contents(folder):
    """All files of a folder but the page, without what differs from run to run: JSON as values, others as bytes."""
    found = {}
    for path in (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".html"):
        content = path.read_bytes()
        if path.suffix == ".json":
            content = {key: value for key, value in json.loads(content).items() if key not in ("seconds", "command")}
        found[str(path.relative_to(folder))] = content
    return found


def times(folder):
    """When each result of a folder was written, and what was learnt."""
    files = (path for path in folder.rglob("*") if path.suffix in (".json", ".npz", ".pth"))
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_run_that_is_killed_twice_goes_on_to_the_same_files(judge, tmp_path, monkeypatch):
    """While it attacks each image; everything before is there already, and stays."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    judge(whole)
    write, written = experiment.results.write_result, []

    def dies(*values):
        if len(written) % 3 == 2:
            written.append("killed")
            raise KeyboardInterrupt
        written.append(write(*values))

    for _ in range(2):
        before = times(killed)
        with monkeypatch.context() as patch:
            patch.setattr(experiment.results, "write_result", dies)
            with pytest.raises(KeyboardInterrupt):
                judge(killed, "--reuse")
        assert before.items() <= times(killed).items()
        assert not (killed / "reid-smoke-v1-summary.json").exists()
    before = times(killed)
    assert len(list(killed.glob("*.npz"))) == 4
    judge(killed, "--reuse")
    assert before.items() <= times(killed).items()
    assert contents(killed) == contents(whole)


def test_the_verdict_is_printed_and_written(judge, tmp_path):
    printed, summary = judge(tmp_path)
    assert (summary["suite"], summary["dataset"]) == ("reid-smoke-v1", "synth-a")
    results = {result.attack["name"]: result for result in read_results(tmp_path)}
    assert summary["clean"] == pytest.approx(results["clean"].metrics["mAP"])
    worst = summary["worst"]
    assert summary["clean"] >= worst["image"] >= worst["image_gallery"]
    assert [goal for goal, mAP in worst.items() if mAP is not None] == [
        "universal",
        "image",
        "image_gallery",
        "search",
    ]
    assert f"{100 * worst['image']:.1f}" in printed
    assert str(tmp_path / "reid-smoke-v1-summary.json") in printed
    assert {"8 bits", "JPEG 75", "blur 3 x 3"} <= results.keys()
    assert sum(result.passes["forward"] for result in results.values()) == summary["passes"]["forward"]


@pytest.mark.parametrize("learn_on", ["synth-a", "synth-b"])
def test_who_is_chosen_by_is_never_learnt_from(judge, data, tmp_path, learn_on):
    _, summary = judge(tmp_path, "--identities", "validation", "--learn-on", learn_on)
    assert summary["protocol"]["identities"] == "validation"
    results = read_results(tmp_path)
    assert {each.dataset["num_gallery"] for each in results} == {len(datasets.create("synth-a", data).val)}
    learnt = {attacks.load(path).provenance["learnt_from"] for path in tmp_path.glob("attackers/*.pth")}
    learnt |= {each.attack["settings"]["training"] for each in results if "training" in each.attack["settings"]}
    assert learnt == {contents_sha256(datasets.create(learn_on, data).train)}


def test_several_budgets_are_a_curve(judge, tmp_path):
    _, summary = judge(tmp_path, "--eps", "2/255", "8/255")
    assert summary["eps"] == 8 / 255
    assert list(summary["curve"]) == ["2/255", "8/255"]
    for row in summary["curve"].values():
        assert row.keys() == {"universal", "image", "image_gallery"}  # search is for some queries
    assert summary["curve"]["8/255"]["image"] == summary["worst"]["image"]
    budgets = {result.threat["eps_delta"] for result in read_results(tmp_path) if result.attack["kind"] == "image"}
    assert budgets == {2 / 255, 8 / 255}


def test_no_budget_changes_nothing(judge, tmp_path):
    _, summary = judge(tmp_path, "--eps", "0")
    assert {summary["worst"][goal] for goal in ("universal", "image", "image_gallery")} == {summary["clean"]}
    within = [result for result in read_results(tmp_path) if result.threat.get("eps_delta", 0) == 0]
    assert len(within) == 1 + 3 + 1 + 3 + 1  # clean, random, learnt, on each image, and search
    clean = {result.dataset["contents"]: result.metrics for result in within if result.attack["kind"] != "search"}
    assert summary["clean"] in {metrics["mAP"] for metrics in clean.values()}
    for result in within:
        if result.dataset["contents"] in clean:
            assert result.metrics == clean[result.dataset["contents"]]


def test_transfers_and_frozen_attacks_are_apart(judge, victim, tmp_path, monkeypatch):
    suite = Suite(transfer=("pgd:steps=1",), frozen="none", universal=TINY.universal, effort=TINY.effort, judges=True)
    monkeypatch.setitem(SUITES._places, "reid-smoke-v1", suite)
    others = []
    for seed, name in enumerate("BC"):
        (tmp_path / name).mkdir()
        model = models.create("resnet10", 12, seed=seed)
        others.append(str(models.save_checkpoint(tmp_path / name / "model_best.pth", model)))
    _, summary = judge(tmp_path / "r", "--transfer-from", *others)
    assert list(summary["transfer"]) == ["B/model_best.pth", "C/model_best.pth"]
    assert summary["worst"]["transfer"] <= min(mAP for row in summary["transfer"].values() for mAP in row.values())


def test_a_list_of_the_users_own_has_flags_and_no_summary(victim, data, tmp_path, monkeypatch, capsys):
    flag = {"name": "white box weaker than search", "detail": "by 9.9", "means": "weak", "do": "more"}
    monkeypatch.setattr("reid.report.verdict.raised", lambda judgement: [flag])
    options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--results", str(tmp_path)]
    evaluate.main([*options, "--image-attack", "pgd:steps=1", "square:calls=1"])
    assert "\nflag: white box weaker than search: by 9.9; weak; to do: more\n" in capsys.readouterr().out
    assert not list(tmp_path.glob("*-summary.json"))
    evaluate.main(options)
    assert "flag: " not in capsys.readouterr().out


def test_rank_lists_are_those_of_the_queries_that_were_attacked(judge, tmp_path, monkeypatch):
    monkeypatch.setattr("reid.evaluation.verdict.Judgement.some", lambda self, share, seed: (1, 5, 8))
    judge(tmp_path / "r", "--rank-list", str(tmp_path / "lists.json"), "--topk", "3")
    rows = json.loads((tmp_path / "lists.json").read_text())["rows"]
    asked = {name: [query["file"] for query in row["queries"]] for name, row in rows.items()}
    assert asked["square 8/255, 2 calls, 3 queries"] == [asked["clean"][place] for place in (1, 5, 8)]
    assert len(asked["clean"]) == 24


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--suite", "reid-standard"], "'reid-standard' is none of"),
        (["--suite", "reid-smoke-v1", "--recipe", "nearest"], "--suite reid-smoke-v1 has fixed attacks"),
        (["--suite", "reid-smoke-v1", "--image-attack", "pgd"], "--suite reid-smoke-v1 has fixed attacks"),
        (["--suite", "reid-fast-v1", "--transfer-from", "none.pth"], "no such checkpoint file: none.pth"),
        (["--suite", "reid-smoke-v1", "--eps"], "--eps: expected at least one argument"),
        (["--transfer-from", "none.pth"], "--suite given makes no attacks on other models"),
    ],
)
def test_wrong_input_is_one_line(extra, words, victim, data, tmp_path, capsys):
    options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--results", str(tmp_path)]
    assert words in failure(evaluate, [*options, "--batch_size", "8", "--num-instances", "4", *extra], capsys)
    assert not list(tmp_path.iterdir())


def test_nobody_to_judge_by_is_one_line(victim, data, tmp_path, monkeypatch, capsys):
    create = datasets.create

    def unlabelled(*args, **kwargs):
        dataset = create(*args, **kwargs)
        dataset.unknown, dataset.query = dataset.query[:2], []
        return dataset

    monkeypatch.setattr(datasets, "create", unlabelled)
    options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--results", str(tmp_path / "r")]
    options += ["--rank-list", str(tmp_path / "lists.json")]
    more = ["--batch_size", "8", "--num-instances", "4", "--suite", "reid-smoke-v1"]
    assert "reid-smoke-v1 has nothing to judge by" in failure(evaluate, [*options, *more], capsys)
    evaluate.main([*options, "--image-attack", "pgd:steps=1"])
    assert len(json.loads((tmp_path / "lists.json").read_text())["rows"]) == 5
