"""Images of your own that do not say who is on them, for what needs no identities."""

import numpy as np
import pytest
from PIL import Image

from reid import datasets
from reid.errors import DatasetError


def draw(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 4, 3), 99, np.uint8)).save(path)


def unlabelled(folder):
    return datasets.create(f"folder:{folder}", labelled=False)


@pytest.mark.parametrize("names", [["a.jpg", "deep/b.png"], ["train/-1_c1_a.jpg", "train/0002_c1_b.jpg"]])
def test_all_pictures_are_to_train_on_and_nobody_is_known(names, tmp_path):
    for name in names:
        draw(tmp_path / name)
    dataset = unlabelled(tmp_path)
    assert len(dataset.train) == len(dataset.trainval) == 2
    assert {sample.pid for sample in dataset.trainval} == {-1}
    assert (dataset.val, dataset.query, dataset.gallery) == ([], [], [])


def test_test_images_are_never_trained_on(tmp_path):
    for name in ("train/photo.jpg", "query/0001_c1_a.jpg", "gallery/0001_c2_a.jpg"):
        draw(tmp_path / name)
    assert [sample.path.rpartition("/")[2] for sample in unlabelled(tmp_path).train] == ["photo.jpg"]
    (tmp_path / "train" / "photo.jpg").unlink()
    (tmp_path / "train").rmdir()
    assert unlabelled(tmp_path).trainval == []


def test_names_that_say_who_is_there_are_read(tmp_path):
    for pid in (1, 2):
        draw(tmp_path / "train" / f"000{pid}_c1_a.jpg")
    assert {sample.pid for sample in unlabelled(tmp_path).trainval} == {1, 2}


def test_other_datasets_are_as_ever(tmp_path):
    with pytest.raises(DatasetError, match="no folder"):
        datasets.create("market1501", tmp_path, labelled=False)
