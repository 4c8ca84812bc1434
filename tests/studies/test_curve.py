"""The picture of mAP against the budget: its numbers are what evaluation measures, and wrong input is one line."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid import attacks, datasets, models
from reid.attacks import Threat, controls
from reid.attacks.image.pgd import PGD
from reid.evaluation import retrieval
from reid.evaluation.results import write_result
from reid.loading import Images
from reid.runtime import cli
from reid.runtime.device import resolve
from reid.runtime.files import sha256
from studies import curve, curves
from tests.studies.invented import relearnt

HEIGHT, WIDTH = 32, 16
TOY_FAMILY = Path(__file__).parents[1] / "plugins/toy_family.py"
COMPUTE = resolve("cpu", "fp32")
IMAGES = Images(HEIGHT, WIDTH, workers=1, cache="ram")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Eight people of nearly one colour in three cameras, two untrained models, and two perturbations."""
    root = tmp_path_factory.mktemp("curve")
    random = np.random.default_rng(0)
    for pid in range(1, 9):
        colour = 120 + random.integers(-6, 7, (HEIGHT, 1, 3))
        for camera, folder in ((1, "query"), (2, "gallery"), (3, "gallery")):
            (root / "data" / folder).mkdir(parents=True, exist_ok=True)
            pixels = np.clip(colour + random.normal(0, 4, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "data" / folder / f"{pid:04d}_c{camera}.png")
    models.save_checkpoint(root / "model.pth", models.create("resnet10", 4, seed=0), height=HEIGHT, width=WIDTH)
    models.save_checkpoint(root / "second.pth", models.create("resnet10", 4, seed=1), height=HEIGHT, width=WIDTH)
    threat = Threat(8 / 255, 8 / 255)
    attacks.save(root / "type0.pth", controls.random_both(threat, 0, HEIGHT, WIDTH), {})
    attacks.save(root / "delta.pth", controls.random_sign(threat, 0, HEIGHT, WIDTH), {})
    return root


def measuring(root, name="model.pth"):
    sides = IMAGES.stores(retrieval.test_samples(datasets.create("folder", root / "data")))
    return retrieval.Retrieval(models.load_victim(root / name), sides, COMPUTE)


def options(root, *entries, **others):
    named = {
        "data": root / "data",
        "device": "cpu",
        "workers": 1,
        "steps": 2,
        **others,
    }
    more = [str(part) for name, value in named.items() for part in (f"--{name}", value)]
    return ["-d", "folder", "--model", *entries, *more]


def entry(root, name="undefended", checkpoint="model.pth", perturbation="type0.pth"):
    return f"{name}={root / checkpoint}={root / perturbation}"


def test_each_number_is_what_evaluation_measures(workplace):
    for checkpoint, file, noise_type in (("model.pth", "type0.pth", 0), ("second.pth", "delta.pth", 2)):
        measured, path = measuring(workplace, checkpoint), workplace / file
        data = curves.curves(measured, path, [0, 4, 8], steps=2)
        assert data["noise_type"] == noise_type
        clean = measured.score().ranking
        assert data["chance"] == clean.chance_mAP
        universal = [measured.score(attacks.load(path, eps / 255)).ranking.mAP for eps in (4, 8)]
        pgd = [measured.score(PGD(eps / 255, steps=2)).ranking.mAP for eps in (4, 8)]
        assert data["universal"] == [clean.mAP, *universal]
        assert data["pgd"] == [clean.mAP, *pgd]
        assert pgd[1] < clean.mAP


def test_the_command_writes_the_picture_and_its_numbers(workplace, tmp_path):
    second = entry(workplace, "defended", "second.pth", "delta.pth")
    curve.main([*options(workplace, entry(workplace), second, out=tmp_path / "a.png"), "--eps", "8", "0", "8"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.png"]
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["eps"] == [0, 8]
    assert list(data["models"]) == ["undefended", "defended"]
    assert data["models"]["defended"]["checkpoint_sha256"] == sha256(workplace / "second.pth")
    assert data["models"]["defended"]["perturbation_sha256"] == sha256(workplace / "delta.pth")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"


class TestReuse:
    """Models of an earlier picture are not measured again, where all that their numbers depend on is the same."""

    @pytest.fixture
    def measured(self, monkeypatch):
        """The checkpoints that are measured, in order."""
        files, measure = [], curves.curves

        def watched(retrieval, *rest):
            files.append(retrieval.victim.name)
            return measure(retrieval, *rest)

        monkeypatch.setattr(curves, "curves", watched)
        return files

    def draw(self, workplace, tmp_path, *entries, **others):
        curve.main([*options(workplace, *entries, out=tmp_path / "a.png", **others), "--eps", "0", "8", "--reuse"])
        return json.loads((tmp_path / "a.json").read_text())

    def test_a_model_is_added_to_a_picture(self, workplace, tmp_path, measured):
        first, second = entry(workplace), entry(workplace, "defended", "second.pth", "delta.pth")
        alone = self.draw(workplace, tmp_path, first)
        both = self.draw(workplace, tmp_path, first, second)
        assert measured == ["model.pth", "second.pth"]
        assert both["models"]["undefended"] == alone["models"]["undefended"]
        assert list(both["models"]) == ["undefended", "defended"]

    @pytest.mark.parametrize("change", [{"steps": 1}, {"height": 48}])
    def test_other_settings_measure_all_again(self, workplace, tmp_path, measured, change):
        self.draw(workplace, tmp_path, entry(workplace))
        self.draw(workplace, tmp_path, entry(workplace), **change)
        assert measured == ["model.pth", "model.pth"]

    def test_another_perturbation_is_measured(self, workplace, tmp_path, measured):
        self.draw(workplace, tmp_path, entry(workplace))
        self.draw(workplace, tmp_path, entry(workplace, perturbation="delta.pth"))
        assert measured == ["model.pth", "model.pth"]

    def test_numbers_of_a_model_that_is_not_drawn_stay(self, workplace, tmp_path, measured):
        first, second = entry(workplace), entry(workplace, "defended", "second.pth", "delta.pth")
        both = self.draw(workplace, tmp_path, first, second)
        alone = self.draw(workplace, tmp_path, first)
        assert alone == both
        assert self.draw(workplace, tmp_path, first, second) == both
        assert measured == ["model.pth", "second.pth"]

    def test_the_pixels_count_and_not_where_they_lie(self, workplace, tmp_path, measured):
        self.draw(workplace, tmp_path, entry(workplace))
        others = shutil.copytree(workplace / "data", tmp_path / "others")
        self.draw(workplace, tmp_path, entry(workplace), data=others)
        assert measured == ["model.pth"]
        Image.new("RGB", (WIDTH, HEIGHT)).save(next((others / "query").iterdir()))
        self.draw(workplace, tmp_path, entry(workplace), data=others)
        assert measured == ["model.pth", "model.pth"]

    @pytest.mark.parametrize("change", [{"pgd": None}, {"pgd": [0.5]}, {"universal": ["x", 0.1]}, {"chance": None}])
    def test_damaged_numbers_are_measured_again(self, workplace, tmp_path, measured, change):
        whole = self.draw(workplace, tmp_path, entry(workplace))
        damaged = {"undefended": whole["models"]["undefended"] | change}
        (tmp_path / "a.json").write_text(json.dumps(whole | {"models": damaged}))
        assert self.draw(workplace, tmp_path, entry(workplace)) == whole
        assert measured == ["model.pth", "model.pth"]

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"models": []}'])
    def test_numbers_that_cannot_be_read_are_measured_again(self, workplace, tmp_path, measured, content):
        (tmp_path / "a.json").write_text(content)
        self.draw(workplace, tmp_path, entry(workplace))
        assert measured == ["model.pth"]


def test_a_results_folder_stands_for_the_worst_perturbation_that_was_learnt_on_the_model(workplace, tmp_path):
    model = sha256(workplace / "model.pth")
    for restart, mAP in ((1, 0.5), (2, 0.3), (3, 0.4)):
        path = tmp_path / "attackers" / f"{restart}.pth"
        attacks.save(path, controls.random_both(Threat(8 / 255, 8 / 255), restart, HEIGHT, WIDTH), {})
        record = relearnt(mAP, restart, "model")
        attack = record.attack | {"sha256": sha256(path), "learnt_on": model}
        write_result(tmp_path, dataclasses.replace(record, attack=attack, victim=record.victim | {"sha256": model}))
    out = tmp_path / "out" / "b.png"
    curve.main([*options(workplace, f"undefended={workplace / 'model.pth'}={tmp_path}", out=out), "--eps", "8"])
    drawn = json.loads(out.with_suffix(".json").read_text())["models"]["undefended"]
    assert drawn["perturbation_sha256"] == sha256(tmp_path / "attackers" / "2.pth")


def made_up(noise_type=0, **models):
    kinds = {"noise_type": noise_type, "chance": 0.03}
    drawn = {name: kinds | {"universal": u, "pgd": p} for name, (u, p) in models.items()}
    return {"eps": [0, 4, 8], "steps": 15, "models": drawn}


def pixels(path, colour):
    """How many pixels of the picture are of this colour."""
    with Image.open(path) as picture:
        return int((np.asarray(picture.convert("RGB")) == rgb(colour)).all(axis=2).sum())


def rgb(colour):
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def test_each_model_has_its_colour(tmp_path):
    one, two = ([0.9, 0.5, 0.2], [0.9, 0.4, 0.1]), ([0.85, 0.8, 0.7], [0.85, 0.7, 0.5])
    first = curves.draw(made_up(undefended=one), tmp_path / "1.png", "title")
    second = curves.draw(made_up(undefended=one, defended=two), tmp_path / "2.png", "title")
    red, blue = curves.COLOURS[:2]
    assert pixels(first, red) > 500
    assert pixels(first, blue) == 0
    assert pixels(second, blue) > 500


def test_more_models_than_colours_can_be_drawn(tmp_path):
    curves.draw(made_up(**{f"m{i}": ([0.9, 0.5, 0.2], [0.9, 0.4, 0.1]) for i in range(7)}), tmp_path / "7.png", "title")
    assert (tmp_path / "7.png").stat().st_size > 0


def test_the_words_in_the_picture(tmp_path, monkeypatch):
    figures = []
    save = curves.Figure.savefig
    monkeypatch.setattr(curves.Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    lines = {"undefended": ([0.9, 0.5, 0.2], [0.9, 0.4, 0.1]), "defended": ([0.8, 0.7, 0.6], [0.8, 0.6, 0.5])}
    for noise_type in (0, 2):
        curves.draw(made_up(noise_type, **lines), tmp_path / "words.png", "title")
    (axes,) = figures[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("L-inf budget per component (1/255)", "mAP (%)")
    universal, pgd = "universal, learnt on this model\nat its full budget, then clipped", "PGD on each image, 15 steps"
    totals = ("\n(type 0, colour + delta:\nin total twice the budget)", "\n(in total the budget)")
    for figure, (more, pgd_more) in zip(figures, (totals, ("", "")), strict=True):
        assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == [
            "undefended",
            "defended",
            universal + more,
            pgd + pgd_more,
            "chance: a random ranking",
        ]


@pytest.mark.parametrize(
    ("model", "others", "words"),
    [
        ("undefended=model.pth", {}, "is not NAME=CHECKPOINT=PERTURBATION"),
        ("=model.pth=type0.pth", {}, "is not NAME=CHECKPOINT=PERTURBATION"),
        ("a=b=c=d", {}, "is not NAME=CHECKPOINT=PERTURBATION"),
        ("a={root}/none.pth={root}/type0.pth", {}, "none.pth"),
        ("a={root}/model.pth={root}/none.pth", {}, "none.pth"),
        ("a={root}/model.pth={root}/model.pth", {}, "is not a perturbation file"),
        ("a={root}/model.pth={root}/data", {}, "holds no re-learnt attack on this model"),
        ("a={root}/model.pth={root}/type0.pth", {"eps": 256}, "budget 256 is not in"),
        ("a={root}/model.pth={root}/type0.pth", {"eps": -1}, "budgets are not negative"),
        ("a={root}/model.pth={root}/type0.pth", {"eps": "nan"}, "budget nan is not in"),
        ("a={root}/model.pth={root}/type0.pth", {"eps": 9}, "is beyond what .*type0.pth was learnt with, 8/255"),
        ("a={root}/model.pth={root}/type0.pth", {"steps": 0}, "is not a whole number of at least 1"),
        ("a={root}/model.pth={root}/type0.pth", {"out": "picture.jpg"}, "must end in .png"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(model, others, words, workplace, tmp_path, capsys):
    failure(options(workplace, model.format(root=workplace), **{"out": tmp_path / "a.png", **others}), words, capsys)
    assert not list(tmp_path.iterdir())


def test_models_of_several_sizes_need_a_common_one(workplace, tmp_path, capsys):
    models.save_checkpoint(tmp_path / "tall.pth", models.create("resnet10", 4), height=48, width=WIDTH)
    entries = entry(workplace), entry(workplace, "tall", tmp_path / "tall.pth")
    failure(options(workplace, *entries), "of several sizes, 32 x 16, 48 x 16; give --height and --width", capsys)


def test_a_family_that_resizes_does_not_make_a_size_void(workplace, tmp_path):
    torch.save({"toy_conv.weight": torch.randn(6, 3, 5, 5), "toy_conv.bias": torch.zeros(6)}, tmp_path / "toy.pth")
    asked = {"out": tmp_path / "c.png", "eps": "0", "height": 64, "width": 32}
    model = entry(workplace, "toy", tmp_path / "toy.pth")
    curve.main(["--plugin", str(TOY_FAMILY), *options(workplace, model, **asked)])
    numbers = json.loads((tmp_path / "c.json").read_text())
    assert (numbers["height"], numbers["width"]) == (64, 32)


def test_two_models_of_one_name_are_refused(workplace, capsys):
    failure(options(workplace, entry(workplace), entry(workplace)), "have the same name", capsys)


def failure(arguments, words, capsys):
    with pytest.raises(SystemExit) as left:
        cli.run(curve.main, arguments)
    assert left.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not re.search("tensors loaded|fingerprint", line)]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert re.search(words, lines[0]), lines[0]
