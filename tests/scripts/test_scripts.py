"""The scripts as a user runs them: what they leave behind, and that every option is used."""

import argparse
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tiny_market import SIZE, draw

import evaluate
import metaAttack
import metaDefense
import trainReid
from reid import attacks, datasets, models
from reid.attacks import apply
from reid.attacks.conversion import convert
from reid.defenses import DEFENSES
from reid.errors import ReidError
from reid.evaluation.results import read_results
from reid.evaluation.suites import SUITES, Each, Suite, Universal
from reid.models import extract
from reid.report import picture
from studies import demo


def test_training_leaves_a_model_that_loads_and_logs(victim):
    model, report = models.load_model(victim)
    assert model.arch == "resnet10"
    assert not report.missing + report.unexpected + report.mismatched
    left = {path.name.split(".")[0] for path in Path(victim).parent.iterdir()}
    assert left == {"model_best", "state", "log", "metrics", "events"}


def test_training_on_all_identities_keeps_the_last_epoch(train_options, tmp_path):
    trainReid.main([*train_options, "--combine-trainval", "--logs_dir", str(tmp_path)])
    model, _ = models.load_model(tmp_path / "model_best.pth")
    assert model.num_classes == 12
    assert all("val_mAP" not in line for line in (tmp_path / "metrics.jsonl").read_text().splitlines())


@pytest.mark.parametrize("noise_type", [0, 1, 2])
def test_attack_leaves_projected_perturbations_with_their_threat(noise_type, attack_options, tmp_path):
    metaAttack.main([*attack_options, "--noise_type", str(noise_type), "--lp", "4", "--noise_resume", str(tmp_path)])
    noise = attacks.load(tmp_path / "best_perturbation2.pth")
    assert noise.noise_type == noise_type
    spent = noise.measure(torch.rand(4, 3, 32, 32))
    for component, types in (("color", (0, 1)), ("delta", (0, 2))):
        assert (spent[component] > 0) == (noise_type in types)
        assert spent[component] <= 4 / 255 + 1e-6
    assert (noise.provenance["source"], noise.provenance["lp"]) == ("synth-a", "4/255")
    assert [path.name for path in sorted(tmp_path.glob("*.pth"))] == [
        *(f"best_perturbation{epoch}.pth" for epoch in range(3)),
        "state.pth",
    ]


def test_attack_reports_the_target_too(attack_options, victim, tmp_path, caplog):
    caplog.set_level("INFO")
    metaAttack.main([*attack_options, "-t", "synth-b", "--resumeTgt", victim, "--noise_resume", str(tmp_path)])
    for words in ("synth-a clean", "synth-a attacked", "synth-b clean", "synth-b attacked"):
        assert words in caplog.text


@pytest.mark.parametrize("side", ["query", "gallery", "both"])
def test_evaluation_writes_one_result_per_line_of_its_table(side, victim, attacker, data, tmp_path, capsys):
    options = ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, *SIZE, "--side", side]
    evaluate.main([*options, "--results", str(tmp_path)])
    results = {result.attack["name"]: result for result in read_results(tmp_path)}
    lines = {line.partition("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert len(results) == 5
    assert results.keys() <= lines.keys()
    clean = results.pop("clean")
    assert clean.threat == clean.spent == {}
    assert clean.metrics["num_valid"] == 24
    for name, result in results.items():
        total = attacks.Threat.from_dict(result.threat).eps_total
        assert attacks.format_budget(total) in lines[name]
        assert result.threat["side"] == side
        assert result.checks[0] == {**result.checks[0], "name": "budget", "passed": True}
        assert 0 < result.spent["total"] <= 16 / 255 + 1e-6
        assert result.spent["total_8bit"] <= 16.5 / 255 + 1e-6
        assert result.protocol_hash == clean.protocol_hash


def test_evaluation_reuses_what_is_there_and_measures_what_changed(victim, attacker, data, tmp_path):
    options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--results", str(tmp_path), "--reuse"]
    evaluate.main(options)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(written) == 3 * 4  # a record, values per query and pictures of each line
    evaluate.main([*options, "--attack", attacker])
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(list(tmp_path.iterdir())) == len(written) + 3


@pytest.fixture
def redrawn(data, tmp_path):
    """The folder of other images under the same names, identities and cameras."""
    draw(tmp_path / "redrawn" / "synth-a" / "raw" / "Market-1501-v15.09.15", num_ids=24, cameras=2, seed=9)
    return str(tmp_path / "redrawn")


def scores(folder):
    """mAP of clean images by the contents of the dataset."""
    clean = [result for result in read_results(folder) if result.attack["kind"] == "clean"]
    return {result.dataset["contents"]: result.metrics["mAP"] for result in clean}


@pytest.mark.parametrize("extra", [[], ["--reuse"]])
def test_other_images_under_the_same_names_neither_give_nor_lose_results(extra, victim, data, redrawn, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    options = ["-d", "synth-a", "--resume", victim, *SIZE, *extra]
    evaluate.main([*options, "--data", redrawn, "--results", str(alone)])
    evaluate.main([*options, "--data", data, "--results", str(together)])
    first = scores(together)
    evaluate.main([*options, "--data", redrawn, "--results", str(together)])
    assert scores(together) == first | scores(alone)
    assert len(set(scores(together).values())) == 2


def test_a_perturbation_says_from_which_images_it_was_learnt(attack_options, attacker, data, redrawn, tmp_path):
    (Path(redrawn) / "synth-virtual").symlink_to(Path(data) / "synth-virtual")
    options = [redrawn if option == data else option for option in attack_options]
    metaAttack.main([*options, "--epoch", "1", "--noise_resume", str(tmp_path / "attack")])
    first, other = (
        attacks.load(path).provenance["learnt_from"].split(", ")
        for path in (attacker, tmp_path / "attack" / "best_perturbation0.pth")
    )
    assert first[0] != other[0]
    assert first[1] == other[1]


def test_attacks_that_know_the_model_have_the_budget_of_the_file(victim, data, tmp_path, capsys):
    noise = attacks.create(0, eps_color=4 / 255, eps_delta=4 / 255, height=32, width=32)
    attacks.save(tmp_path / "small.pth", noise, {})
    options = ["-d", "synth-a", "--resume", victim, "--attack", str(tmp_path / "small.pth"), "--data", data, *SIZE]
    options += ["--adaptive", "--batch_size", "8", "--num-instances", "4", "--restarts", "1", "--adaptive-epochs", "1"]
    evaluate.main([*options, "--adaptive-iters", "1", "--pgd-steps", "2", "--results", str(tmp_path / "r")])
    threats = {result.attack["kind"]: result.threat for result in read_results(tmp_path / "r")}
    assert threats["image"] == {"eps_color": 0.0, "eps_delta": 4 / 255, "side": "query"}
    assert threats["relearnt"] == threats["universal"] == {"eps_color": 4 / 255, "eps_delta": 4 / 255, "side": "query"}
    lines = {line.partition("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "delta 4/255" in lines["pgd 4/255, 2 steps"]
    assert " 8/255 " in lines["re-learnt type 0, restart 1 of 1"]  # the total of both components


def test_image_attacks_and_recipes_are_chosen_by_name(victim, data, tmp_path):
    options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--image-attack", "pgd:steps=1,restarts=2"]
    options += ["--recipe", "maml", "none", "-m", "synth-virtual", "--batch_size", "8", "--num-instances", "4"]
    options += ["--restarts", "1", "--adaptive-epochs", "1", "--adaptive-iters", "1"]
    evaluate.main([*options, "--results", str(tmp_path)])
    names = {result.attack["name"]: result.attack["settings"] for result in read_results(tmp_path)}
    assert names["pgd 8/255, 1 step, best of 2"] == {"attack": "pgd", "steps": 1, "restarts": 2}
    assert names["re-learnt type 0 by maml, restart 1 of 1"] == {"recipe": "maml"}
    assert names["re-learnt type 0, restart 1 of 1"] == {"recipe": "none"}


def test_either_spelling_of_an_option_is_taken(victim, data, tmp_path):
    names = []
    for metric in ("--dist_metric", "--dist-metric"):
        options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, metric, "cosine"]
        evaluate.main([*options, "--results", str(tmp_path / metric)])
        names.append(sorted(path.name for path in (tmp_path / metric).iterdir()))
    assert names[0] == names[1]


def test_evaluation_at_zero_budget_equals_clean(victim, attacker, data, tmp_path):
    options = ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, *SIZE, "--eps", "0"]
    evaluate.main([*options, "--results", str(tmp_path)])
    metrics = [result.metrics for result in read_results(tmp_path)]
    assert all(other == metrics[0] for other in metrics)


def test_controls_have_the_budget_of_the_attacker_component_by_component(victim, data, tmp_path):
    noise = attacks.create(0, eps_color=4 / 255, eps_delta=8 / 255, height=32, width=32)
    attacks.save(tmp_path / "uneven.pth", noise, {})
    options = ["-d", "synth-a", "--resume", victim, "--attack", str(tmp_path / "uneven.pth"), "--data", data, *SIZE]
    evaluate.main([*options, "--results", str(tmp_path / "r")])
    threats = {r.attack["name"]: r.threat for r in read_results(tmp_path / "r")}
    assert threats["random both 4/255+8/255"] == {"eps_color": 4 / 255, "eps_delta": 8 / 255, "side": "query"}


def test_files_of_other_tools_are_attackers(victim, attacker, data, tmp_path):
    files = [str(tmp_path / name) for name in ("delta.npy", "delta.png", "colour.cube")]
    for path in files:
        convert(attacker, path.rpartition(".")[2], path)
    options = ["-d", "synth-a", "--resume", victim, "--attack", *files, "--data", data, *SIZE, "--eps", "8/255"]
    evaluate.main([*options, "--results", str(tmp_path / "r")])
    spent = {r.attack["name"].rpartition("/")[2]: r.spent for r in read_results(tmp_path / "r")}
    assert spent["delta.png"]["color"] == spent["colour.cube"]["delta"] == 0
    assert spent["delta.png"]["delta"] == pytest.approx(spent["delta.npy"]["delta"], abs=1.01 * 8 / 255 / 254)
    assert spent["colour.cube"]["color"] > 1 / 255


def test_a_zero_budget_without_attackers_is_zero(victim, data, tmp_path):
    options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--eps", "0"]
    evaluate.main([*options, "--results", str(tmp_path)])
    assert all(result.spent.get("total", 0.0) == 0 for result in read_results(tmp_path))


def test_another_size_than_the_model_was_trained_on_is_warned_about(victim, data, tmp_path, caplog):
    options = ["-d", "synth-a", "--resume", victim, "--data", data, "--height", "48", "--width", "32"]
    evaluate.main([*options, "--results", str(tmp_path)])
    assert "was trained on 32 x 32 images, not 48 x 32" in caplog.text


def test_distance_and_reranking_change_the_ranking(victim, data, tmp_path):
    scores = []
    for i, extra in enumerate(([], ["--rerank"], ["--dist_metric", "cosine"])):
        options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--results", str(tmp_path / str(i))]
        evaluate.main([*options, *extra])
        scores.append({r.attack["name"]: r.metrics["mAP"] for r in read_results(tmp_path / str(i))}["clean"])
    assert len(set(scores)) == 3


def test_the_picture_shows_queries_and_lists(victim, attacker, data, tmp_path):
    from PIL import Image

    out = tmp_path / "picture.png"
    options = ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, *SIZE, "--out", str(out)]
    picture.main(options)
    colours = {colour for _, colour in Image.open(out).getcolors(2**24)}
    assert {(30, 150, 60), (205, 40, 40)} <= colours
    few = Image.open(out).height
    picture.main([*options, "--queries", "6"])
    assert Image.open(out).height > few


def test_the_summary_of_the_demo_holds_the_measured_numbers(
    victim, defended, attacker, attack_options, data, tmp_path, capsys, monkeypatch
):
    files = []
    for name, model in (("A", victim), ("B", victim), ("D", defended / "model_best.pth")):
        (tmp_path / name).mkdir()
        shutil.copy(model, tmp_path / name / "model_best.pth")
    for noise_type in ("0", "1", "2"):
        options = [*attack_options, "--noise_type", noise_type, "--epoch", "4", "--iters-per-epoch", "1"]
        metaAttack.main([*options, "--noise_resume", str(tmp_path / "attack" / noise_type)])
        files.append(str(tmp_path / "attack" / noise_type / "best_perturbation3.pth"))
    adaptive = ["--adaptive", "--batch_size", "8", "--num-instances", "4", "--adaptive-epochs", "1", "--pgd-steps", "2"]
    for name, dataset, extra in (
        ("A", "synth-a", ["--attack", *files]),
        ("B", "synth-b", ["--attack", *files]),
        ("A", "synth-a", ["--attack", files[0], *adaptive, "--restarts", "2", "--adaptive-iters", "1"]),
        ("D", "synth-a", ["--attack", files[0], *adaptive, "--restarts", "2", "--adaptive-iters", "1"]),
    ):
        options = ["-d", dataset, "--resume", str(tmp_path / name / "model_best.pth"), "--data", data, *SIZE]
        options += ["--seed", "7", "--results", str(tmp_path / "results" / name)]
        evaluate.main(options)
        with pytest.raises(ReidError, match="lacks results of the demo"):
            demo.main([str(tmp_path), "--seed", "7"])
        evaluate.main([*options, *extra])
    evaluate.main([*options, "--attack", attacker, "--seed", "1"])  # an attacker that is not of this demo
    smoke = Suite(
        (Universal("nearest", "query"),), (Each("cosine:steps=2", "query"),), effort={"restarts": 1}, judges=True
    )
    monkeypatch.setitem(SUITES._places, "reid-smoke-v1", smoke)
    for name in ("A", "D"):
        options = [
            "-d",
            "synth-a",
            "--resume",
            str(tmp_path / name / "model_best.pth"),
            "--data",
            data,
            *SIZE,
            *adaptive[1:],
        ]
        options += ["--seed", "7", "--results", str(tmp_path / "results" / name), "--adaptive-iters", "1"]
        with pytest.raises(ReidError, match="lacks results of the demo"):
            demo.main([str(tmp_path), "--seed", "7"])
        evaluate.main([*options, "--suite", "reid-smoke-v1"])
    capsys.readouterr()
    demo.main([str(tmp_path), "--seed", "7", "--seconds", "1.5"])
    printed = capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["seed"], summary["seconds"], list(summary["victims"])) == (7, 1.5, ["A", "B"])
    for name, victim_summary in summary["victims"].items():
        results = [r for r in read_results(tmp_path / "results" / name) if r.seed == 7]
        by_name = {r.attack["name"]: r.metrics["mAP"] for r in results}
        frozen = [r for r in results if r.attack["kind"] == "universal"]
        by_type = {str(r.attack["noise_type"]): r.metrics["mAP"] for r in frozen}
        assert victim_summary["clean"] == by_name["clean"]
        assert victim_summary["attacked"] == by_type
        assert list(victim_summary["attacked"]) == ["0", "1", "2"]
        assert victim_summary["controls"] == {
            "random_sign": by_name["random sign 8/255"],
            "random_lut": by_name["random LUT 8/255"],
            "both": by_name["random both 8/255"],
        }
        assert victim_summary["chance"] == results[0].metrics["chance_mAP"]
        assert f"{name}: resnet10 on {victim_summary['dataset']}" in printed
        assert f"{100 * victim_summary['attacked']['1']:.1f}" in printed
    for name, scores in (("D", summary["defended"]), ("A", summary["defended"]["undefended"])):
        results = [r for r in read_results(tmp_path / "results" / name) if r.seed == 7]
        by_name = {r.attack["name"]: r.metrics["mAP"] for r in results}
        relearnt = [r.metrics["mAP"] for r in results if r.attack["kind"] == "relearnt"]
        assert (scores["clean"], scores["pgd"]) == (by_name["clean"], by_name["pgd 8/255, 2 steps"])
        assert scores["frozen"] == by_name["attack/0/best_perturbation3.pth"]
        assert len(relearnt) == 2 + 1  # of the suite
        assert scores["relearnt"] == min(relearnt)
        assert summary["suite"][name]["clean"] == by_name["clean"]
        nearest = next(r for r in results if r.attack["settings"].get("recipe") == "nearest")
        assert summary["suite"][name]["worst"]["universal"] <= nearest.metrics["mAP"]


def test_rank_lists_are_written_for_unlabelled_queries_too(victim, attacker, data, tmp_path, monkeypatch, capsys):
    create = datasets.create

    def unlabelled(*args, **kwargs):
        dataset = create(*args, **kwargs)
        dataset.unknown = [replace(sample, pid=-1) for sample in dataset.query[:2]]
        dataset.query = dataset.query[kept:]
        return dataset

    monkeypatch.setattr(datasets, "create", unlabelled)
    options = ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, *SIZE, "--topk", "4"]
    for kept in (2, 24):
        folder, path = tmp_path / str(kept), tmp_path / f"{kept}.json"
        evaluate.main([*options, "--results", str(folder), "--rank-list", str(path)])
        content = json.loads(path.read_text())
        assert [len(listed["queries"]) for listed in content["rows"].values()] == [24 - kept + 2] * 5
        for listed in content["rows"].values():
            assert {len(query["gallery"]) for query in listed["queries"]} == {4}
            assert [query["pid"] for query in listed["queries"]][-2:] == [-1, -1]
            assert (listed["result"] is None) == (kept == 24)
        assert folder.exists() == (kept == 2)
    assert "mAP of a random ranking" in capsys.readouterr().out


class Watched(argparse.Namespace):
    """A namespace that remembers which options were read, as attributes or out of its vars()."""

    read: ClassVar[set[str]] = set()

    class Values(dict):
        def __getitem__(self, name):
            Watched.read.add(name)
            return super().__getitem__(name)

    def __init__(self, options):
        self.__dict__ = Watched.Values(options)

    def __getattribute__(self, name):
        Watched.read.add(name)
        return super().__getattribute__(name)


OPTIONS_OF = {name: {field.name for field in fields(DEFENSES[name])} for name in DEFENSES}
OF_OTHER_DEFENSES = set().union(*OPTIONS_OF.values()) - OPTIONS_OF["meta"]  # which tests/defenses uses


def test_every_option_is_used(
    train_options, attack_options, defense_options, victim, attacker, data, tmp_path, monkeypatch
):
    defended, adaptive = ["--noise_path1", attacker], ["--adaptive", "--batch_size", "8", "--num-instances", "4"]
    runs = {
        trainReid: [*train_options, "--logs_dir", str(tmp_path / "t")],
        metaAttack: [*attack_options, "-t", "synth-b", "--resumeTgt", victim, "--noise_resume", str(tmp_path / "a")],
        metaDefense: [*defense_options, *defended, "--attacker", "frozen", "pgd", "--logs_dir", str(tmp_path / "d")],
        evaluate: ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, *SIZE, *adaptive],
        picture: ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, *SIZE],
        apply: [f"{data}/synth-a/images", "--attack", attacker, *SIZE, "--out", str(tmp_path / "out")],
        extract: [f"{data}/synth-a/images", "--resume", victim, *SIZE, "--out", str(tmp_path / "f.npz"), "--overwrite"],
    }
    extra = {
        evaluate: ["--results", str(tmp_path / "r"), "--adaptive-epochs", "1", "--rank-list", str(tmp_path / "l.json")],
        picture: ["--out", str(tmp_path / "p.png")],
        extract: ["--attack", attacker],
    }
    for script, options in runs.items():
        parse = script.parse
        monkeypatch.setattr(script, "parse", lambda argv, parse=parse: Watched(vars(parse(argv))))
        Watched.read = set()
        script.main([*options, *extra.get(script, [])])
        unused = set(vars(parse(options))) - Watched.read - {"plugin", "debug"}  # which work before all others
        unused -= OF_OTHER_DEFENSES
        assert not unused, f"{script.__name__} ignores {unused}"
