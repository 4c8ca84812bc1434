"""Own folders, and where datasets are said to be: every way to write it. Each parameter is one input."""

import argparse
import os
from pathlib import Path

import pytest

import metaAttack
import metaDefense
from reid import datasets
from reid.datasets import Dataset, Release, Sample
from reid.evaluation.retrieval import test_samples as sides_of
from reid.loading.sampler import PKSampler
from reid.runtime import cli
from reid.runtime.files import slug
from tests.field.conftest import LONGEST_LINE, picture


def own(folder, train=(1, 2, 3), test=(4, 5), first=0):
    """train/, query/ and gallery/, cameras 1 and 2."""
    for pid in train:
        for camera in (1, 2):
            picture(folder / f"train/{pid:04d}_c{camera}_0.jpg", first + pid)
    for pid in test:
        picture(folder / f"query/{pid:04d}_c1_0.jpg", first + pid)
        picture(folder / f"gallery/{pid:04d}_c2_0.jpg", first + pid)
    return folder


def market(folder):
    for pid in (1, 2, 3):
        picture(folder / f"bounding_box_train/{pid:04d}_c1s1_000001_01.jpg", pid)
    picture(folder / "query/0004_c1s1_000001_00.jpg", 4)
    picture(folder / "bounding_box_test/0004_c2s1_000001_01.jpg", 4)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, in which home/ is the user's own."""
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    return tmp_path


def parsed(*arguments):
    """The value of --data for these arguments."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    cli.add_data_option(parser.add_argument, "--data")
    return parser.parse_args(arguments).data


PATHS = ["mine", "mine/", "./mine", "x/../mine", "{here}/mine", "{here}//mine/", "link", "link/", "home/../mine"]


@pytest.mark.parametrize("path", [*PATHS, "~/mine", "~/mine/"])
@pytest.mark.parametrize("how", ["name", "data", "data of folder"])
def test_a_folder_is_found_however_its_path_is_written(path, how, here, outcome):
    own(here / ("home/mine" if "~" in path else "mine"))
    own(here / "x")
    (here / "home").mkdir(exist_ok=True)
    os.symlink(here / "mine", here / "link")
    path = path.format(here=here)
    if how == "name":
        became = outcome(lambda: datasets.create(f"folder:{path}"))
        assert became.value.name == ("folder:link" if "link" in path else "folder:mine")
    else:
        became = outcome(
            lambda: datasets.create("folder", parsed("--data", path if how == "data" else f"folder={path}"))
        )
        assert became.value.name == "folder"
    assert (len(became.value.trainval), len(became.value.query), became.counted) == (6, 2, "")


def test_two_own_sets_have_different_images_and_names(here):
    sets = [datasets.create(f"folder:{own(here / name, first=first)}") for first, name in enumerate("ab")]
    assert [each.name for each in sets] == ["folder:a", "folder:b"]
    assert [os.path.dirname(each.query[0].path) for each in sets] == [f"{here}/a/query", f"{here}/b/query"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder:none", "no such folder: none; check the path"),
        ("folder:~/none", "/home/none; check the path"),
        ("folder:file", "file is not a folder"),
        ("folder:", "folder: names no folder; write folder:PATH"),
        ("folder:C:\\people", "no such folder: C:\\people;"),
        ("folder:empty", "empty needs the folders query and gallery"),
        ("mine", "for your own images in that folder write folder:mine"),
        ("./mine", "write folder:./mine"),
        ("folders:mine", "no dataset is called 'folders:mine'"),
        ("personx:mine", "did you mean personx?"),
    ],
)
def test_what_is_no_own_set_is_named(name, words, here, outcome):
    own(here / "mine")
    (here / "empty").mkdir()
    (here / "file").write_text("x")
    assert words in outcome(lambda: datasets.create(name)).refusal


@pytest.mark.parametrize(
    ("arguments", "folders"),
    [
        ([], {}),
        (["--data", "d"], {"": "d"}),
        (["--data", "d", "--data", "personx=/mnt/px"], {"": "d", "personx": "/mnt/px"}),
        (["--data=personx=~/px"], {"personx": "~/px"}),
        (["--data", "a", "--data", "b"], {"": "b"}),
        (["--data", "personx=C:\\px"], {"personx": "C:\\px"}),
        (["--data", "/mnt/a=b"], {"": "/mnt/a=b"}),
        (["--data", "./a=b"], {"": "./a=b"}),
        (["--data", "there=b"], {"": "there=b"}),
        (["--data", "personx=a=b"], {"personx": "a=b"}),
        (["--data", ""], None),
        (["--data", "personx="], None),
    ],
)
def test_data_is_a_folder_or_one_for_a_dataset(arguments, folders, here):
    (here / "there=b").mkdir()
    if folders is None:
        with pytest.raises(argparse.ArgumentError, match="names no folder"):
            parsed(*arguments)
    else:
        assert parsed(*arguments) == folders


@pytest.mark.parametrize(
    ("places", "home"),
    [
        (["d"], "d/market1501"),
        (["d", "market1501=other"], "other/market1501"),
        (["d", "Market-1501=other"], "other/market1501"),
        (["market1501=other/market1501"], "other/market1501"),
        (["market1501=alone"], "alone"),
        (["d", "market1501=~/alone/"], "home/alone"),
        (["other/market1501"], "other/market1501"),
        (["other/market1501/"], "other/market1501"),
        (["market1501=raw only"], "raw only"),
        (["empty", "market1501=d"], "d/market1501"),
        (["d", "personx=nowhere"], "d/market1501"),
    ],
)
def test_each_dataset_is_found_where_data_says(places, home, here, outcome):
    for folder in ("d/market1501", "other/market1501", "alone", "home/alone", "raw only/raw/Market-1501-v15.09.15"):
        market(here / folder)
    (here / "empty").mkdir()
    data = parsed(*(word for place in places for word in ("--data", place)))
    became = outcome(lambda: datasets.create("market1501", data))
    assert became.refusal == ""
    assert os.path.realpath(became.value.images_dir) == str(here / home / "images")
    assert len(became.value.trainval) == 3
    assert datasets.create("market1501", data).images_dir == became.value.images_dir  # converted now


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([], "no such folder: data; check the path"),
        (["nowhere"], "no such folder: nowhere; check the path"),
        (["d", "personx=nowhere"], "no such folder: nowhere; check the path"),
        (["~/nowhere"], "/home/nowhere; check the path"),
        (["file"], "file is not a folder; check the path"),
        (["d"], "no folder d/personx; put personX456.zip"),
        (["personx=d"], "put personX456.zip (zip, tar or tar.gz) or the folder unpacked from it in {here}/d/raw"),
        (["d", "persnx=d"], "no dataset is called 'persnx'; did you mean personx?"),
    ],
)
def test_where_there_is_no_dataset_the_message_says_which_folder_is_meant(places, words, here, outcome):
    (here / "d").mkdir()
    (here / "file").write_text("x")
    data = parsed(*(word for place in places for word in ("--data", place)))
    refusal = outcome(lambda: datasets.create("personx", data)).refusal
    assert words.format(here=here) in refusal
    assert ("no folder" in refusal) == ("no folder" in words)


def test_an_own_set_together_with_others(here):
    own(here / "mine")
    market(here / "data/market1501")
    data = parsed("--data", "data", "--data", "folder=mine")
    assert [len(datasets.create(name, data).query) for name in ("folder", "market1501", "folder:mine")] == [2, 1, 2]


@pytest.mark.parametrize("queries", ["all", "some"])
def test_queries_without_identity_are_counted_and_not_scored(queries, here, outcome):
    folder = own(here / "mine")
    for path in sorted((folder / "query").iterdir())[: None if queries == "all" else 1]:
        path.rename(path.with_name(f"-1_c3_{path.stem}.jpg"))
    became = outcome(lambda: datasets.create("folder:mine"))
    known, unknown = (0, 2) if queries == "all" else (1, 1)
    words = f"folder:mine: {unknown} images have no identity (-1) and are left out, {unknown} of them queries"
    assert became.counted == words
    assert (len(became.value.query), len(became.value.unknown), len(became.value.trainval)) == (known, unknown, 6)
    assert {sample.pid for sample in became.value.unknown} == {-1}
    scored = outcome(lambda: sides_of(became.value))
    assert ("the queries of folder:mine have no identity to score" in scored.refusal) == (queries == "all")
    assert "training only" not in scored.refusal


def test_a_gallery_without_identities_is_said_to_be_one(here, outcome):
    folder = own(here / "mine")
    for path in sorted((folder / "gallery").iterdir()):
        path.rename(path.with_name(f"-1_c3_{path.stem}.jpg"))
    data = outcome(lambda: datasets.create("folder:mine"))
    assert "2 images have no identity (-1) and are left out, 0 of them queries" in data.counted
    assert "the gallery images of folder:mine have no identity" in outcome(lambda: sides_of(data.value)).refusal


def test_many_cameras_fit_on_a_line(here, outcome):
    for camera in range(300):
        picture(here / f"mine/train/{camera % 7:04d}_c{camera}_0.jpg", camera, size=(4, 4))
    data = outcome(lambda: datasets.create("folder:mine")).value
    lines = data.summary().splitlines()
    assert max(map(len, lines)) <= LONGEST_LINE
    assert "  trainval |     7 |       300 | 1 to 1 in each of 300 cameras" in lines


def test_many_cameras_fit_on_the_line_of_differences():
    samples = [Sample(f"/{camera}.jpg", 1, camera) for camera in range(1000)]
    release = Release("r", expected={"trainval": datasets.Count(1, 1000, (500, 500))})
    data = Dataset("d", Path("/"), {"trainval": samples, "query": [], "gallery": []}, 1000, release)
    (line,) = data.differences()
    assert line == "trainval has (1 to 1 in each of 1,000 cameras) images per camera, expected are (500, 500)"


def test_too_few_identities_are_said_to_be_without_those_held_out(here, outcome):
    data = datasets.create(f"folder:{own(here / 'mine', train=range(11, 21))}")
    pids = [sample.pid for sample in data.train]
    refusal = outcome(lambda: PKSampler(pids, 40, 4, 0, data.name)).refusal
    assert "folder:mine has 9, not counting any that are held out for validation" in refusal


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("market1501", "market1501"),
        ("synth-a", "synth-a"),
        ("folder:sets/a", "folder_sets_a"),
        ("folder:C:\\my images\\a", "folder_C_my_images_a"),
        ("folder:~/a b/../c?*|<>\"'", "folder_a_b_.._c"),
        ("folder:人/図", "folder_人_図"),
        ("folder:" + "long/" * 100 + "end", "long_" * 11 + "g_end"),
    ],
)
def test_the_name_of_a_set_becomes_a_safe_part_of_a_file_name(name, safe):
    made = slug(name)
    assert len(made.encode()) <= 200
    assert not set(made) & set('/\\:*?"<>| \n')
    assert made == safe or made.endswith("_end")


@pytest.mark.parametrize(("source", "folder"), [("market1501", "market1501"), ("folder:sets/a", "folder_sets_a")])
def test_the_folders_that_scripts_choose_are_named_after_the_set(source, folder):
    attack = metaAttack.parse(["-s", source, "-m", source, "--resume", "m.pth"])
    assert attack.noise_resume == Path("attackModel") / f"{folder}-maml/0"
    defense = metaDefense.parse(["-s", source, "-m", source, "--resume", "m.pth"])
    assert defense.logs_dir == Path("defenseModel") / f"{folder}-meta-frozen/0"
