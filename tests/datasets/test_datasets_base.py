"""Splits, labels, tables and names, and the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from raw_layouts import market, pack_zip, randperson

from reid import datasets
from reid.datasets import Count, Dataset, Release, Sample, labels
from reid.datasets.__main__ import main
from reid.errors import DatasetError, ReidError, UsageError

UNPUBLISHED = Release("test")


def people(pids, cameras=2):
    return [Sample(f"/images/{pid}_{camid}.jpg", pid, camid) for pid in pids for camid in range(cameras)]


def dataset(pids=range(751), split=0, release=UNPUBLISHED):
    samples = {"trainval": people(pids), "query": people([2000]), "gallery": people([2000, 2001])}
    return Dataset("test", Path("/images"), samples, 2, release, split)


def test_labels_follow_the_sorted_pids():
    assert labels(people([7, 40, 3])) == {3: 0, 7: 1, 40: 2}


def test_validation_is_a_tenth_of_the_identities_and_the_rest_trains():
    data = dataset()
    train, val = ({sample.pid for sample in part} for part in (data.train, data.val))
    assert (len(val), len(train)) == (75, 676) == (round(751 / 10), data.num_train_ids)
    assert train | val == set(range(751))
    assert sorted(data.train + data.val, key=lambda s: (s.pid, s.camid)) == data.trainval
    assert data.num_trainval_ids == 751


def test_the_split_number_is_the_seed_and_the_order_of_samples_does_not_matter():
    def held_out(data):
        return {sample.pid for sample in data.val}

    sparse = [1024 * n for n in range(751)]  # a set of these lists them in the order of insertion
    assert held_out(dataset(sparse, split=1)) == held_out(dataset(sparse[::-1], split=1))
    assert held_out(dataset(split=1)) != held_out(dataset(split=0))
    with pytest.raises(UsageError, match="split -1"):
        dataset(split=-1)


@pytest.mark.parametrize(("ids", "held_out"), [(0, 0), (1, 0), (2, 1), (10, 1), (16, 2)])
def test_small_sets_hold_out_somebody(ids, held_out):
    assert len({sample.pid for sample in dataset(range(ids)).val}) == held_out


def test_differences_from_the_expected_counts_are_listed_with_the_numbers():
    agreeing = {"trainval": Count(751, 1502, (751, 751)), "query": Count(1, 2), "gallery": Count(2, 4)}
    assert dataset(release=Release("r", expected=agreeing)).differences() == []
    wrong = {"trainval": Count(750, 1502, (752, 750)), "query": Count(1, 1_002)}
    assert dataset(release=Release("r", expected=wrong)).differences() == [
        "trainval has 751 ids, expected are 750",
        "trainval has (751, 751) images per camera, expected are (752, 750)",
        "query has 2 images, expected are 1,002",
    ]


def loaders():
    return [datasets.find_loader(name) for name in datasets.names()]


def test_the_tables_of_counts_are_consistent():
    for loader in loaders():
        for release in loader.releases:
            assert set(release.expected) <= {"trainval", "query", "gallery"}
            for count in release.expected.values():
                assert sum(count.per_camera) in (0, count.images)
                assert len(count.per_camera) in (0, len(release.cameras))


def test_every_dataset_says_where_it_comes_from():
    for loader in loaders():
        text = type(loader).__doc__ or ""
        assert "Paper" in text or type(loader).__name__ in ("Synth", "OwnFolder")


def test_the_page_of_the_datasets_has_the_numbers_of_the_tables():
    page = (Path(datasets.__file__).parents[2] / "docs/datasets.md").read_text()
    for loader in loaders():
        assert f"`{loader.name}`" in page
        for release in loader.releases:
            for count in release.expected.values():
                assert f"{count.ids:,} / {count.images:,}" in page


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("market1501", "market1501"), ("Market-1501", "market1501"), ("Market-1501-v15.09.15", "market1501"),
        ("DukeMTMC-reID", "dukemtmc"), ("dukemtmc-reid", "dukemtmc"), ("MSMT17", "msmt17"), ("MSMT17_V1", "msmt17"),
        ("MSMT17_V2", "msmt17"), ("personX456", "personx"), ("UnrealPerson", "unrealperson"),
        ("randperson_subset", "randperson"), ("synth_a", "synth-a"), ("synthvirtual", "synth-virtual"),
    ],
)  # fmt: skip
def test_spellings_that_circulate(spelling, name):
    assert datasets.find_loader(spelling).name == name


def test_names():
    assert datasets.names() == [
        "market1501", "dukemtmc", "msmt17", "personx", "unrealperson", "randperson",
        "synth-a", "synth-b", "synth-virtual", "synth-wide", "folder",
    ]  # fmt: skip


def test_an_unknown_name_lists_the_choices(tmp_path):
    with pytest.raises(UsageError, match=r"'cuhk03'; known: market1501, dukemtmc.*, folder"):
        datasets.create("cuhk03", tmp_path)


def test_the_command_converts_and_prints_the_table(tmp_path, capsys, caplog):
    pack_zip(tmp_path / "market1501/raw", market())
    main(["Market-1501", "--root", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("market1501 (Market-1501-v15.09.15), 6 cameras, split 0: ")
    assert "  trainval |     3 |         9 | 3 0 3 0 0 3" in lines
    assert "  query    |     2 |         2 | 2 0 0 0 0 0" in lines
    assert "trainval has 9 images, expected are 12,936" in caplog.text
    assert "query has (2, 0, 0, 0, 0, 0) images per camera" in caplog.text


def test_a_training_only_set_prints_its_table_too(tmp_path, capsys):
    pack_zip(tmp_path / "randperson/raw", randperson())
    main(["randperson", "--root", str(tmp_path)])
    assert "  gallery  |     0 |         0 | (none)" in capsys.readouterr().out


def run_command(*arguments):
    command = [sys.executable, "-m", "reid.datasets", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_errors_are_one_line_on_stderr_with_exit_code_2(tmp_path):
    pack_zip(tmp_path / "dukemtmc/raw", {"../evil": b""})
    for arguments in (["dukemtmc"], ["cuhk03"]):  # the others: test_datasets_refusals.py
        done = run_command(*arguments, "--root", tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_help_states_the_defaults_and_wrong_options_are_one_line():
    assert "(default: data)" in run_command("--help").stdout
    done = run_command("market1501", "--split", "-3")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_an_error_of_a_dataset_is_an_error_of_the_project():
    assert issubclass(DatasetError, ReidError)
