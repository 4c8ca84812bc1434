"""The zoo: its entries are whole, files are verified before they are opened, and zoo:NAME is a SPEC."""

import json
import logging
import os
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from zoo_entries import INPUT, write_entry

from reid import CheckpointError, UsageError, datasets, models
from reid.models import InputSpec, extract
from reid.models.families import readable
from reid.models.sources import open_model
from reid.models.zoo import __main__ as listing
from reid.models.zoo import entries
from reid.models.zoo.entries import Entry, Figure, File, entry_of, list_zoo
from reid.runtime import cli

ROOT = Path(__file__).parents[2]
STRANGERS = Path(os.environ.get("REID_STRANGERS", ROOT.parent / "shared" / "strangers"))
PAGE = b"<!DOCTYPE html><html>Sign in</html>"
FILES = sorted(entries.FOLDER.glob("*.json"))


@pytest.fixture
def weights(small, tmp_path):
    """The folder of weights, with toy.pth, which is of a resnet10."""
    models.save_checkpoint(tmp_path / "weights" / "toy.pth", small, height=64, width=32)
    return tmp_path / "weights"


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """`zoo(content=..., ...)` adds an entry to a zoo that has no others."""
    monkeypatch.setattr(entries, "FOLDER", tmp_path / "zoo")
    return lambda **values: write_entry(tmp_path / "zoo", **values)


@pytest.fixture
def toy(zoo, weights):
    """A zoo with the entry of toy.pth."""
    zoo(content=(weights / "toy.pth").read_bytes())


class TestEntries:
    """Each file of the package, as it is."""

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
    def test_are_whole(self, path):
        values = json.loads(path.read_text(encoding="utf-8"))
        assert values.keys() == {field.name for field in fields(Entry)}
        assert values["name"] == path.stem
        assert values["source"].keys() == {"repository", "commit", "how"}
        assert values["family"] in (*readable(), "graph")
        for text in (values["summary"], values["licence"], values["arch"], *values["source"].values()):
            assert text is None or text.strip()
        assert values["licence"]
        assert InputSpec.of(values["input"], path).size == (values["input"]["height"], values["input"]["width"])
        assert re.fullmatch("[0-9a-f]{12}|None", str(values["fingerprint"]))
        assert values["files"]
        for file in values["files"]:
            assert file.keys() == set(File._fields)
            assert not Path(file["name"]).is_absolute()
            assert (file["bytes"] is None) == (file["sha256"] is None) == (values["files"][0]["sha256"] is None)
            assert re.fullmatch("[0-9a-f]{64}|None", str(file["sha256"]))

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
    def test_have_figures_with_a_source(self, path):
        values = json.loads(path.read_text(encoding="utf-8"))
        for figure in [*(values["published"] or ()), *(values["measured"] or ())]:
            assert figure.keys() == set(Figure._fields)
            assert figure["source"].strip()
            assert figure["dataset"] in datasets.names()
            assert re.fullmatch("[0-9a-f]{64}|None", str(figure["contents"]))
            assert set(figure["protocol"]) == {"distance", "rerank"}
            low, high = figure["interval"] or (figure["mAP"], figure["mAP"])
            assert 0 < low <= figure["mAP"] <= high < 1
        assert all(figure["interval"] for figure in values["measured"] or ())

    def test_are_those_of_the_released_models_of_strangers_and_of_the_demo(self):
        names = {entry.name for entry in list_zoo()}
        released = {"market", "duke", "market-defended", "duke-defended"}
        assert names == released | {"demo-a", "demo-b", "demo-d"} | {Path(name).stem for name in STRANGE}

    def test_are_in_a_wheel(self):
        data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
        assert data["reid.models.zoo"] == ["*.json"]


def test_an_unknown_name_is_answered_with_the_nearest(zoo):
    zoo(name="osnet_x0_25")
    with pytest.raises(UsageError, match="no model of the zoo is called 'osnet_x025'; did you mean osnet_x0_25"):
        models.load_zoo("osnet_x025")


def test_a_verified_file_is_a_victim_that_reads_images_as_the_entry_says(toy, weights):
    victim = models.load_zoo("toy", weights=weights)
    assert (victim.arch, victim.name, victim.reading) == ("resnet10", "zoo:toy", "own")
    assert victim.input == InputSpec.of(INPUT, "toy")
    assert victim.sha256 == list_zoo()[0].sha256
    assert open_model("zoo:toy", weights).certain


def test_the_usual_folder_is_pretrained_models(toy, weights, monkeypatch):
    monkeypatch.chdir(weights.parent)
    weights.rename("pretrained_models")
    assert models.load_victim("zoo:toy").arch == "resnet10"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: None, r"weights.toy\.pth of zoo:toy is not there; put it there, .*it comes from someone/toys"),
        (lambda content: PAGE, r"toy\.pth is a web page, saved in place of the checkpoint"),
        (lambda content: b"version https://git-lfs", r"toy\.pth is a Git LFS"),
        (
            lambda content: content[:-1],
            r"toy\.pth has \d+ bytes, that of zoo:toy has \d+; get it again from someone/to",
        ),
        (
            lambda content: content[:-1] + b"?",
            r"toy\.pth is another file than that of zoo:toy \(its sha256 is \w{12}, ",
        ),
    ],
    ids=["missing", "page", "pointer", "size", "hash"],
)
def test_a_wrong_file_is_one_line_and_never_opened(change, words, toy, weights, monkeypatch):
    path = weights / "toy.pth"
    content = change(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr("reid.models.sources.Checkpoint", None)  # whoever opens it fails
    with pytest.raises(CheckpointError, match=words) as caught:
        models.load_zoo("toy", weights=weights)
    assert "\n" not in str(caught.value)


def test_all_files_of_a_model_are_verified(zoo, weights):
    known = {"bytes": None, "sha256": None}
    zoo(files=[{"name": "toy.pth", **known}, {"name": "more.bin", **known}])
    with pytest.raises(CheckpointError, match=r"more\.bin of zoo:toy is not there"):
        models.load_zoo("toy", weights=weights)


class TestWithoutAHash:
    def test_a_file_is_taken_with_a_warning(self, zoo, weights, caplog):
        zoo()
        assert models.load_zoo("toy", weights=weights).arch == "resnet10"
        assert f"zoo:toy: {weights / 'toy.pth'} cannot be verified, since its hash is not known" in caplog.messages

    def test_a_file_of_another_network_is_refused(self, zoo, weights):
        zoo(arch="resMeta")
        with pytest.raises(CheckpointError, match=r"toy\.pth is a resnet10, but zoo:toy is a resMeta"):
            models.load_zoo("toy", weights=weights)

    def test_a_page_is_refused(self, zoo, weights):
        zoo()
        (weights / "toy.pth").write_bytes(PAGE)
        with pytest.raises(CheckpointError, match="is a web page"):
            models.load_zoo("toy", weights=weights)


def test_an_entry_is_found_by_spec_and_by_hash(zoo):
    zoo(content=b"some")
    zoo(name="unknown")
    toy, unknown = list_zoo()
    assert entry_of("zoo:unknown", None) == unknown
    assert entry_of("any.pth", toy.sha256) == toy
    assert entry_of("any.pth", "f" * 64) is entry_of("any.pth", None) is None


class TestCommands:
    def test_the_list_says_what_is_known_and_whether_files_are_there(self, toy, zoo, weights, capsys):
        zoo(name="a_page", content=b"some")
        zoo(name="missing", note="rare")
        zoo(name="unknown")
        (weights / "a_page.pth").write_bytes(PAGE)
        (weights / "unknown.pth").write_bytes((weights / "toy.pth").read_bytes())
        listing.main(["--weights", str(weights)])
        page, missing, toys, unknown = (block.splitlines() for block in capsys.readouterr().out.split("\n\n"))
        assert toys == [
            "zoo:toy: a toy",
            f"  file       {weights / 'toy.pth'}: verified",
            "  from       someone/toys @ cccccccc: the file toy.pth",
            "  licence    MIT",
            "  network    resnet10, resnet; 64 x 32 (not resized), RGB, half; fingerprint not known",
            "  published  not known",
            "  measured   not known",
        ]
        assert page[1].startswith(f"  file       {weights / 'a_page.pth'}: not usable: {weights / 'a_page.pth'} is a w")
        assert missing[1].endswith("missing.pth: not there")
        assert missing[-1] == "  note       rare"
        assert unknown[1].endswith("unknown.pth: there; cannot be verified, since its hash is not known")

    def test_they_take_a_name_and_the_folder(self, toy, weights, tmp_path):
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "a.png").write_bytes((ROOT / "docs" / "demo.png").read_bytes())
        extract.main([str(tmp_path / "images"), *self.options(weights, tmp_path), "--workers", "0"])
        assert (tmp_path / "f.npz").is_file()

    def test_a_missing_file_leaves_with_2(self, toy, tmp_path, capsys):
        with pytest.raises(SystemExit) as left:
            cli.run(extract.main, [str(tmp_path), *self.options(tmp_path / "none", tmp_path)])
        assert left.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {tmp_path / 'none' / 'toy.pth'} of zoo:toy is not there; put it there")

    def options(self, weights, out):
        return ["--resume", "zoo:toy", "--weights", str(weights), "--out", str(out / "f.npz"), "--device", "cpu"]


STRANGE = {"osnet_x0_25_msmt17.onnx": "onnx", "person-reidentification-retail-0288.xml": "openvino"}


@pytest.mark.parametrize("name", STRANGE)
def test_strangers_are_what_their_entries_say(name, caplog):
    caplog.set_level(logging.INFO)
    if not (STRANGERS / name).is_file():
        pytest.skip(f"no {STRANGERS / name}; REID_STRANGERS names the folder")
    for module in ("onnx2pytorch", STRANGE[name]):
        pytest.importorskip(module)
    entry = entry_of(f"zoo:{Path(name).stem}", None)
    victim = models.load_zoo(entry.name, weights=STRANGERS)
    by_file = models.load_victim(STRANGERS / name)
    assert (victim.arch, victim.sha256, victim.fingerprint) == (entry.arch, entry.sha256, entry.fingerprint)
    assert (victim.input, victim.fingerprint) == (by_file.input, by_file.fingerprint)
