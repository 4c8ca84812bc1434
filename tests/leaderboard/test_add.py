"""Attacks of others: scored here, counted where they serve a goal, refused where they are not what they say."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid import attacks, datasets, models
from reid.attacks import Threat, controls
from reid.attacks.given import GivenImages
from reid.datasets.contents import contents_sha256
from reid.errors import UsageError
from reid.evaluation.results import read_results
from reid.leaderboard import add
from reid.models.load import load_victim
from reid.runtime.files import sha256

HEIGHT, WIDTH = 32, 16
OWN = (40, 20)  # height and width of the images on disk
EPS = 8 / 255


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Images of six people under two cameras, a model, and nothing else."""
    home = tmp_path_factory.mktemp("home")
    random = np.random.default_rng(0)
    for pid in range(1, 7):
        colour = random.integers(40, 216, (2, 1, 1, 3)).repeat(OWN[0] // 2, 1).reshape(OWN[0], 1, 3)
        for camera, folder in ((1, "query"), (2, "gallery"), (3, "gallery")):
            pixels = np.clip(colour + random.normal(0, 30, (*OWN, 3)), 0, 255).astype(np.uint8)
            path = home / "people" / folder / f"{pid:04d}_c{camera}_0.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    models.save_checkpoint(home / "model.pth", models.create("resnet10", 5, seed=0))
    return home


@pytest.fixture(scope="module")
def said(home):
    """What a submission says of the model and the images."""
    dataset = datasets.create(f"folder:{home / 'people'}", home)
    victim = load_victim(str(home / "model.pth"), size=(HEIGHT, WIDTH))
    return {
        "name": "theirs",
        "authors": "A. Reader",
        "link": "https://example.org/attack",
        "victim_sha256": victim.sha256,
        "dataset": "folder:people",
        "contents": contents_sha256([*dataset.query, *dataset.gallery]),
        "threat": {"eps_color": 0, "eps_delta": "8/255", "side": "query"},
        "needs": ["gradients", "labels", "reference"],
        "claimed_mAP": 1.0,
        "file": "images",
    }


@pytest.fixture
def submit(said, home, tmp_path):
    """`submit(**changes)`: the options of the command for a submission in tmp_path/submission."""

    def write(**changes):
        path = tmp_path / "submission" / "submission.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(said | changes))
        options = ["-d", f"folder:{home / 'people'}", "--resume", home / "model.pth", "--device", "cpu"]
        shape = ["--height", HEIGHT, "--width", WIDTH, "--workers", 1]
        return [*map(str, [path, *options, *shape, "--results", tmp_path / "results"])]

    return write


def perturb(home, out, side="query", size=(HEIGHT, WIDTH), levels=8):
    """Write the images of a side under a random change of so many grey levels."""
    random = np.random.default_rng(3)
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted((home / "people" / side).iterdir()):
        image = Image.open(path)
        if size != OWN:
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(image).astype(int)
        changed = np.clip(pixels + random.choice([-levels, levels], pixels.shape), 0, 255)
        Image.fromarray(changed.astype(np.uint8)).save(out / path.name)


def result_in(folder, kind="external"):
    (result,) = (result for result in read_results(folder) if result.attack["kind"] == kind)
    return result


class TestAccepted:
    @pytest.mark.parametrize("size", [(HEIGHT, WIDTH), OWN], ids=["as the model is given", "original"])
    def test_images_are_scored_and_written_as_a_result(self, size, home, submit, tmp_path, said, capsys):
        perturb(home, tmp_path / "submission/images", size=size)
        add.main(submit())
        result = result_in(tmp_path / "results")
        assert result.attack["name"] == "theirs"
        assert result.attack["needs"] == said["needs"]
        assert result.attack["settings"] == {name: said[name] for name in ("authors", "link", "claimed_mAP")}
        assert result.attack["sha256"] == sha256(tmp_path / "submission/images")
        assert result.threat == {"eps_color": 0.0, "eps_delta": EPS, "side": "query"}
        assert (result.spent["total"] * 255) == pytest.approx(8, abs=1e-3)
        assert result.dataset["contents"] == said["contents"]
        assert result_in(tmp_path / "results", "clean").protocol == result.protocol
        assert "theirs" in capsys.readouterr().out

    def test_the_images_that_are_given_are_those_that_are_scored(self, home, submit, tmp_path):
        """Each query as another person's."""
        images = tmp_path / "submission/images"
        perturb(home, images, levels=0)
        names = sorted(path.name for path in images.iterdir())
        for name, other in zip(names, names[1:] + names[:1], strict=True):
            (images / name).rename(images / f"{other}.moved")
        for path in [*images.iterdir()]:
            path.rename(path.with_suffix(""))
        add.main(submit(threat={"eps_color": 0, "eps_delta": 1, "side": "query"}))
        swapped, clean = (result_in(tmp_path / "results", kind).metrics["mAP"] for kind in ("external", "clean"))
        assert swapped < clean / 2

    @pytest.mark.parametrize("top", ["", "theirs/deep/"])
    def test_an_archive_is_as_good_as_a_folder(self, top, home, submit, tmp_path):
        perturb(home, tmp_path / "images")
        add.main(submit_folder(submit, tmp_path, tmp_path / "images"))
        with zipfile.ZipFile(tmp_path / "submission/images.zip", "w") as archive:
            archive.writestr(f"{top}README.txt", "hello")
            for path in (tmp_path / "images").iterdir():
                archive.write(path, f"{top}{path.name}")
        add.main(submit(file="images.zip"))
        zipped, folder = (
            result for result in read_results(tmp_path / "results") if result.attack["kind"] == "external"
        )
        assert zipped.metrics == folder.metrics
        assert zipped.attack["sha256"] != folder.attack["sha256"]
        assert sorted(path.name for path in (tmp_path / "submission").iterdir()) == [
            *("images", "images.zip", "submission.json")
        ]

    def test_both_sides_are_told_apart(self, home, submit, tmp_path):
        for side in ("query", "gallery"):
            perturb(home, tmp_path / "submission/images", side)
        add.main(submit(threat={"eps_color": 0, "eps_delta": "8/255", "side": "both"}))
        both = result_in(tmp_path / "results")
        assert both.protocol["side"] == "both"
        assert result_in(tmp_path / "results", "clean").protocol["side"] == "query"

    def test_images_may_change_by_colour_and_delta_together(self, home, submit, tmp_path):
        perturb(home, tmp_path / "submission/images", levels=16)
        add.main(submit(threat={"eps_color": "8/255", "eps_delta": "8/255", "side": "query"}))
        assert (result_in(tmp_path / "results").spent["total"] * 255) == pytest.approx(16, abs=1e-3)

    def test_a_perturbation_is_scored_as_evaluate_scores_it(self, home, submit, tmp_path, said):
        import evaluate

        noise = controls.random_both(Threat(EPS, EPS), 0, HEIGHT, WIDTH)
        file = attacks.save(tmp_path / "submission/noise.pth", noise, {"victim_sha256": said["victim_sha256"]})
        threat = {"eps_color": "8/255", "eps_delta": "8/255", "side": "query"}
        options = submit(file="noise.pth", threat=threat, needs=[])
        add.main(options)
        evaluate.main([*options[1:], "--attack", str(file)])
        theirs, ours = (result_in(tmp_path / "results", kind) for kind in ("external", "universal"))
        assert theirs.metrics == ours.metrics
        assert theirs.attack["noise_type"] == 0
        assert theirs.attack["learnt_on"] == said["victim_sha256"]

    def test_a_plain_array_counts_as_made_for_the_model_and_a_file_that_says_another_as_frozen(
        self, submit, tmp_path, said
    ):
        from reid.leaderboard.entries import read

        delta = controls.random_sign(Threat(0, EPS), 0, HEIGHT, WIDTH)
        (tmp_path / "submission").mkdir()
        np.save(tmp_path / "submission/delta.npy", delta.delta.detach().numpy())
        attacks.save(tmp_path / "submission/other.pth", delta, {"victim_sha256": "cd" * 32, "passes": "many"})
        for file in ("delta.npy", "other.pth"):
            add.main(submit(file=file, name=file, needs=[]))
        found = read([tmp_path / "results"]).attacks
        assert {entry.attack: entry.goal for entry in found} == {"delta.npy": "universal", "other.pth": "frozen"}


def submit_folder(submit, tmp_path, images):
    options = submit()
    shutil.copytree(images, tmp_path / "submission/images")
    return options


def test_a_verdict_counts_attacks_of_others(home, submit, tmp_path, monkeypatch):
    """Once they are in the folder of its results, however the suite was run."""
    import evaluate
    from reid.evaluation.suites import SUITES, Each, Suite

    suite = Suite(each=(Each("pgd:steps=1", "query"),), judges=True)
    monkeypatch.setitem(SUITES._places, "reid-smoke-v1", suite)
    perturb(home, tmp_path / "submission/images")
    options = submit()
    add.main(options)
    other = tmp_path / "results/other.json"
    other.write_text("{}")
    evaluate.main([*options[1:], "--suite", "reid-smoke-v1", "--reuse"])
    other.unlink()
    summary = json.loads((tmp_path / "results/reid-smoke-v1-summary.json").read_text())
    assert summary["strongest"]["image_gallery"]["attack"] == "theirs"
    assert summary["worst"]["image_gallery"] <= result_in(tmp_path / "results").metrics["mAP"]
    evaluate.main([*options[1:], "--suite", "reid-smoke-v1", "--dist_metric", "cosine"])
    summary = json.loads((tmp_path / "results/reid-smoke-v1-summary.json").read_text())
    assert summary["worst"]["image_gallery"] is None


# Refused: each with one line, and nothing is written.

CLAIMS = {
    "a claim that is not reached": ({"claimed_mAP": 0.0}, "claims mAP 0.00 and reaches"),
    "another model": ({"victim_sha256": "ab" * 32}, "was made for the model of hash ababab"),
    "another gallery": ({"contents": "ab" * 32}, "was made for other images"),
    "another dataset": ({"dataset": "market1501"}, "was made for other images: market1501"),
    "a budget that is smaller": (
        {"threat": {"eps_color": 0, "eps_delta": "7/255", "side": "query"}},
        "changed by 8 grey levels, of 7 allowed",
    ),
    "another side": ({"threat": {"eps_color": 0, "eps_delta": "8/255", "side": "gallery"}}, "lacks 12 of 12 images"),
    "a budget in words": ({"threat": {"eps_color": 0, "eps_delta": "much", "side": "query"}}, "is not a number"),
    "a budget of 8": ({"threat": {"eps_color": 0, "eps_delta": 8, "side": "query"}}, "did you mean 8/255"),
    "no such side": ({"threat": {"eps_color": 0, "eps_delta": 0.1, "side": "left"}}, "side 'left'"),
    "no side": ({"threat": {"eps_color": 0, "eps_delta": 0.1}}, "needs eps_color, eps_delta and side"),
    "unknown knowledge": ({"needs": ["luck"]}, "not a list of what the attack knows"),
    "a claim in percent": ({"claimed_mAP": 12.3}, "not a number in [0, 1]"),
    "a claim that is no number": ({"claimed_mAP": True}, "not a number in [0, 1]"),
    "a name of several lines": ({"name": "a\nb"}, "not a line of text"),
    "no name": ({"name": " "}, "not a line of text"),
    "a link that is none": ({"link": ["x"]}, "not a line of text"),
    "an unknown key": ({"claim": 0.1}, "has unknown claim"),
    "a file that is not there": ({"file": "none.zip"}, "no 'none.zip' in its folder"),
    "a file outside": ({"file": "../people"}, "in its folder"),
    "an absolute path": ({"file": "/etc/passwd"}, "no '/etc/passwd' in its folder"),
    "a path that none can be": ({"file": "a" * 300}, "in its folder"),
    "another file": ({"file": "submission.json"}, "submission.json"),
}


@pytest.mark.parametrize("what", CLAIMS)
def test_what_a_submission_says_wrong_is_refused(what, home, submit, tmp_path, refused):
    changes, words = CLAIMS[what]
    perturb(home, tmp_path / "submission/images")
    (tmp_path / "people").mkdir()
    assert words in refused(add.main, submit(**changes))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("content", ["", "[1]", "{}", "[" * 100_000, "\xff"])
def test_what_is_no_submission_is_refused(content, submit, tmp_path, refused):
    options = submit()
    Path(options[0]).write_text(content, encoding="latin-1")
    assert "submission.json" in refused(add.main, options)
    assert not (tmp_path / "results").exists()


def change(path, change):
    pixels = np.asarray(Image.open(path)).copy()
    Image.fromarray(change(pixels)).save(path)


def one_level_more(pixels):
    pixels[3, 5, 1] = np.clip(int(pixels[3, 5, 1]) + 17, 0, 255) if pixels[3, 5, 1] < 128 else pixels[3, 5, 1] - 17
    return pixels


FILES = {
    "a pixel beyond": (lambda path: change(path, one_level_more), "leaves the budget: a pixel changed by"),
    "a missing image": (lambda path: path.unlink(), "lacks 1 of 6 images: 0001_c1_0.png"),
    "an image too many": (lambda path: shutil.copy(path, path.with_name("9999_c1_0.png")), "1 images too many: 9999"),
    "twice the same": (
        lambda path: (path.with_name("sub").mkdir(), shutil.copy(path, path.with_name("sub"))),
        "1 images too many",
    ),
    "another name": (lambda path: path.rename(path.with_suffix(".jpg")), "lacks 1 of 6 images"),
    "another size": (
        lambda path: change(path, lambda pixels: pixels[:-1]),
        "is 31 x 16; give 32 x 16, as the model is given",
    ),
    "another shape": (lambda path: change(path, lambda pixels: pixels.transpose(1, 0, 2)), "is 16 x 32"),
    "a cut image": (lambda path: path.write_bytes(path.read_bytes()[:100]), "cannot be read as an image"),
    "no image": (lambda path: path.write_text("<html>"), "cannot be read as an image"),
}


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("archive", [False, True], ids=["folder", "zip"])
def test_wrong_images_are_refused(what, archive, home, submit, tmp_path, refused):
    spoil, words = FILES[what]
    images = tmp_path / "submission/images"
    perturb(home, images)
    spoil(images / "0001_c1_0.png")
    options = submit(file="images.zip" if archive else "images")
    if archive:
        shutil.make_archive(str(images), "zip", images)
    line = refused(add.main, options)
    assert words in line
    assert "0001_c1_0" in line or "9999" in line
    assert not (tmp_path / "results").exists()


def test_images_of_the_original_size_are_held_to_the_budget_there(home, submit, tmp_path, refused):
    perturb(home, tmp_path / "submission/images", size=OWN, levels=9)
    assert "changed by 9 grey levels, of 8 allowed" in refused(add.main, submit())


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="links")
def test_a_link_that_leads_out_is_no_image(home, submit, tmp_path, refused):
    perturb(home, tmp_path / "submission/images")
    path = tmp_path / "submission/images/0001_c1_0.png"
    path.rename(tmp_path / "outside.png")
    path.symlink_to(tmp_path / "outside.png")
    assert "lacks 1 of 6 images" in refused(add.main, submit())


@pytest.mark.parametrize("name", ["../0001_c1_0.png", "/tmp/0001_c1_0.png", "C:/0001_c1_0.png"])
def test_an_archive_that_leads_out_is_refused(name, submit, tmp_path, refused):
    options = submit(file="images.zip")
    with zipfile.ZipFile(tmp_path / "submission/images.zip", "w") as archive:
        archive.writestr(name, b"")
    assert "leads outside its folder" in refused(add.main, options)
    assert not (tmp_path / "results").exists()


def test_a_perturbation_beyond_its_budget_is_refused_not_cut(submit, tmp_path, refused):
    (tmp_path / "submission").mkdir()
    noise = controls.random_both(Threat(EPS, 2 * EPS), 0, HEIGHT, WIDTH)
    attacks.save(tmp_path / "submission/noise.pth", noise, {})
    threat = {"eps_color": "8/255", "eps_delta": "8/255", "side": "query"}
    line = refused(add.main, submit(file="noise.pth", threat=threat))
    assert "leaves its budget: layer_01.delta goes beyond 8/255 by 8/255" in line
    assert "layer_00" in refused(add.main, submit(file="noise.pth", threat=threat | {"eps_color": 0}))
    assert not (tmp_path / "results").exists()


def test_given_images_are_for_the_places_of_a_set():
    with pytest.raises(UsageError, match=r"reid\.leaderboard\.add"):
        GivenImages({}, Threat(0.0, EPS)).attack(None, attacks.AttackBatch(None))
