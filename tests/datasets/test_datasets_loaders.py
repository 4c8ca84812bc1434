"""Every dataset, from every form in which users have it: the right people, cameras, junk and splits."""

import json
import shutil

import pytest
from raw_layouts import (
    FORMS,
    MSMT17_NAMES,
    RAW,
    duke,
    jpeg,
    market,
    msmt17,
    pack_tar,
    pack_zip,
    personx,
    randperson,
    snapshot,
    triples,
    unpack,
    unrealperson,
)

from reid import datasets
from reid.datasets.converted import Record
from reid.datasets.unrealperson import draw
from reid.errors import DatasetError


@pytest.mark.parametrize("name", RAW)
def test_zip_tar_and_folder_convert_to_the_same_bytes(name, tmp_path):
    results = []
    for form, make in FORMS.items():
        make(tmp_path / form / name / "raw", RAW[name]())
        dataset = datasets.create(name, tmp_path / form)
        results.append(snapshot(tmp_path / form / name))
        assert dataset.name == name
        assert all(jpeg_like(sample.path) for sample in dataset.trainval + dataset.query + dataset.gallery)
    assert results[0] == results[1] == results[2]
    assert {path.split("/")[0] for path in results[0]} == {"images", "meta.json", "splits.json"}


def jpeg_like(path):
    with open(path, "rb") as file:
        return path.startswith("/") and file.read(2) == b"\xff\xd8"


def test_each_converted_image_has_the_content_of_its_raw_file(tmp_path):
    pack_zip(tmp_path / "market1501/raw", market())
    dataset = datasets.create("market1501", tmp_path)
    for sample in dataset.trainval + dataset.query + dataset.gallery:
        with open(sample.path, "rb") as file:
            assert file.read() == market()[f"Market-1501-v15.09.15/{dataset.original_name(sample)}"]


def test_market_drops_junk_keeps_distractors_and_counts_cameras_from_0(tmp_path):
    pack_zip(tmp_path / "market1501/raw", market())
    dataset = datasets.create("market1501", tmp_path)
    assert triples(dataset, "query") == [
        ("query/0001_c1s1_0001_00.jpg", 1, 0),
        ("query/0003_c1s1_0003_00.jpg", 3, 0),
    ]
    assert sorted({(pid, camid) for _, pid, camid in triples(dataset, "gallery")}) == [
        (0, 3), (1, 1), (1, 4), (3, 1), (3, 4),
    ]  # fmt: skip
    assert {pid for _, pid, _ in triples(dataset, "trainval")} == {2, 7, 10}
    assert (dataset.num_cameras, dataset.num_trainval_ids, len(dataset.trainval)) == (6, 3, 9)


def test_duke_keeps_its_sparse_numbers_and_says_that_it_was_withdrawn(tmp_path):
    pack_zip(tmp_path / "dukemtmc/raw", duke(), "DukeMTMC-reID.zip")
    dataset = datasets.create("dukemtmc", tmp_path)
    assert {(pid, camid) for _, pid, camid in triples(dataset, "gallery")} == {(5, 0), (5, 6), (7140, 0), (7140, 6)}
    assert dataset.num_cameras == 8
    assert "withdrawn" in dataset.summary()


@pytest.mark.parametrize(
    ("top", "train", "test", "release"),
    [
        ("MSMT17_V1", "train", "test", "MSMT17_V1"),
        ("MSMT17_V2", "mask_train_v2", "mask_test_v2", "MSMT17_V2"),
        ("MSMT17_V2/MSMT17_V2", "mask_train_v2", "mask_test_V2", "MSMT17_V2"),
    ],
)
def test_msmt17_takes_camera_from_field_2_and_renumbers_test_people(tmp_path, top, train, test, release):
    pack_tar(tmp_path / "msmt17/raw", msmt17(top, train, test))
    dataset = datasets.create("MSMT17", tmp_path)
    assert [(pid, camid) for _, pid, camid in triples(dataset, "trainval")] == [(0, 0), (0, 11), (1, 14)]
    assert [(pid, camid) for _, pid, camid in triples(dataset, "query")] == [(2, 4)]
    assert [(pid, camid) for _, pid, camid in triples(dataset, "gallery")] == [(2, 13), (3, 0)]
    assert (dataset.num_cameras, dataset.release.name) == (15, release)


def test_msmt17_reads_each_image_once_when_list_train_already_contains_list_val(tmp_path):
    files = msmt17()
    files["MSMT17_V1/list_train.txt"] += files["MSMT17_V1/list_val.txt"]
    pack_zip(tmp_path / "msmt17/raw", files)
    assert len(datasets.create("msmt17", tmp_path).trainval) == len(MSMT17_NAMES["train"] + MSMT17_NAMES["val"])


def test_msmt17_does_not_depend_on_the_order_of_its_lists(tmp_path):
    backwards = {
        name: b"".join(content.splitlines(keepends=True)[::-1]) if name.endswith(".txt") else content
        for name, content in msmt17().items()
    }
    twin = {"MSMT17_V1/test/0001/0001_001_01_0113noon_0023_0.jpg": jpeg(77)}
    for form, files in (("in order", msmt17()), ("backwards", backwards)):
        lines = files["MSMT17_V1/list_gallery.txt"], b"0001/0001_001_01_0113noon_0023_0.jpg 1\n"
        files["MSMT17_V1/list_gallery.txt"] = b"".join(lines if form == "in order" else lines[::-1])
        pack_zip(tmp_path / form / "msmt17/raw", files | twin)
        assert len(datasets.create("msmt17", tmp_path / form).gallery) == 3
    assert snapshot(tmp_path / "in order/msmt17") == snapshot(tmp_path / "backwards/msmt17")


def test_msmt17_skips_the_twins_that_macos_adds(tmp_path):
    files = msmt17("MSMT17_V2", "mask_train_v2", "mask_test_v2")
    twins = {f"__MACOSX/{name}": b"resource fork" for name in files}
    twins |= {f"{name.rpartition('/')[0]}/._{name.rpartition('/')[2]}": b"resource fork" for name in files}
    for form, make in FORMS.items():
        make(tmp_path / form / "msmt17/raw", files | twins)
        assert len(datasets.create("msmt17", tmp_path / form).gallery) == 2


def test_msmt17_in_market_layout(tmp_path):
    names = ["bounding_box_train/0000_c1_0000.jpg", "bounding_box_train/0001_c15_0003.jpg"]
    names += ["query/0000_c2_0000.jpg", "bounding_box_test/0000_c11_0001.jpg"]
    unpack(tmp_path / "msmt17/raw", {name: jpeg(shade) for shade, name in enumerate(names)})
    dataset = datasets.create("msmt17", tmp_path)
    assert triples(dataset, "trainval") == [(names[0], 0, 0), (names[1], 1, 14)]
    assert triples(dataset, "query") + triples(dataset, "gallery") == [(names[2], 2, 1), (names[3], 2, 10)]


def test_msmt17_in_market_layout_with_the_lists_of_the_released_code(tmp_path):
    names = ["bounding_box_train/0000_c1_0000.jpg", "query/0000_c2_0000.jpg", "bounding_box_test/0000_c11_0001.jpg"]
    lists = {f"list_{key}.txt": b"0000_c1_0000.jpg 0\n" for key in ("train", "val", "query", "gallery")}
    unpack(tmp_path / "msmt17/raw", {name: jpeg(0) for name in names} | lists)
    dataset = datasets.create("msmt17", tmp_path)
    assert dataset.release.name == "MSMT17 in Market layout"
    assert [triples(dataset, split) for split in ("trainval", "query", "gallery")] == [
        [(names[0], 0, 0)], [(names[1], 1, 1)], [(names[2], 1, 10)],
    ]  # fmt: skip


def test_msmt17_names_an_image_that_only_the_list_has(tmp_path):
    files = msmt17()
    del files["MSMT17_V1/test/0001/0001_000_01_0113noon_0022_2.jpg"]
    pack_zip(tmp_path / "msmt17/raw", files)
    with pytest.raises(DatasetError, match=r"test/0001/0001_000_01_0113noon_0022_2.jpg is missing.*list_gallery.txt"):
        datasets.create("msmt17", tmp_path)


@pytest.mark.parametrize(
    ("cameras", "release"),
    [((4, 5, 6), "personX456"), ((3, 4, 8, 10, 11, 12), "PersonX VisDA"), ((1, 2), "PersonX_v1")],
)
def test_personx_tells_its_releases_apart_by_their_cameras(tmp_path, cameras, release):
    pack_zip(tmp_path / "personx/raw", personx(cameras=cameras))
    dataset = datasets.create("personx", tmp_path)
    assert dataset.release.name == release
    assert [camid for _, _, camid in triples(dataset, "trainval")] == [
        camid for _, camid in sorted((f"c{camera}s", camid) for camid, camera in enumerate(cameras))
    ]
    assert len(dataset.query) == len(dataset.gallery) == 2 * len(cameras)


@pytest.mark.parametrize("form", FORMS)
def test_personx_v1_as_given_out_is_read_as_personx456(tmp_path, form):
    apart = {}
    for background in range(1, 7):
        apart |= personx(f"PersonX_v1/{background}", (background,))
    FORMS[form](tmp_path / "apart/personx/raw", apart)
    pack_zip(tmp_path / "merged/personx/raw", personx())
    first, second = (datasets.create("personx", tmp_path / name) for name in ("apart", "merged"))
    assert first.release.name == "personX456"
    for split in ("trainval", "query", "gallery"):
        assert triples(first, split) == triples(second, split)


def test_personx_v1_beside_a_merged_one_is_refused(tmp_path):
    for background in (4, 5, 6):
        unpack(tmp_path / "personx/raw", personx(f"PersonX_v1/{background}", (background,)))
    unpack(tmp_path / "personx/raw", personx())
    with pytest.raises(DatasetError, match=r"twice.*PersonX_v1 and as .*personX456; keep one"):
        datasets.create("personx", tmp_path)


def test_unrealperson_identity_is_version_and_person_and_camera_is_scene_and_camera(tmp_path):
    pack_tar(tmp_path / "unrealperson/raw", unrealperson(), "UnrealPerson.tar")
    dataset = datasets.create("unrealperson", tmp_path)
    found = {name: (pid, camid) for name, pid, camid in triples(dataset, "trainval")}
    assert found == {
        "unreal_v1.1/images/333_c001_5.jpg": (100_333, 0),
        "unreal_v1.1/images/4_c002_1.jpg": (100_004, 1),
        "unreal_v1.3/images/4_c002_1.jpg": (300_004, 1),
        "unreal_v3.1/images/333_c001_78.jpg": (100_333, 2),
        "unreal_v3.1/images/333_c001_79.jpg": (100_333, 2),
        "unreal_v3.2/images/333_c001_78.jpg": (200_333, 2),
    }
    assert (dataset.query, dataset.gallery) == ([], [])


def test_unrealperson_comes_in_many_archives_that_may_start_at_images(tmp_path):
    parts = {name.split("/")[0] for name in unrealperson()}
    for part in parts:
        files = {name: content for name, content in unrealperson().items() if name.startswith(part)}
        if part in ("unreal_v1.3", "unreal_v3.2"):
            files = {name.removeprefix(f"{part}/"): content for name, content in files.items()}
        pack_tar(tmp_path / "many/unrealperson/raw", files, f"{part}.tar")
    pack_tar(tmp_path / "one/unrealperson/raw", unrealperson(), "UnrealPerson.tar")
    many, one = (datasets.create("unrealperson", tmp_path / form) for form in ("many", "one"))
    assert len(parts) == 4
    assert triples(many, "trainval") == triples(one, "trainval")
    assert snapshot(tmp_path / "many/unrealperson") == snapshot(tmp_path / "one/unrealperson")


def test_an_archive_of_archives_must_be_unpacked(tmp_path):
    inner = pack_tar(tmp_path / "inner", unrealperson(), "unreal_v3.1.tar").read_bytes()
    pack_tar(tmp_path / "unrealperson/raw", {"all/unreal_v3.1.tar": inner}, "UnrealPerson.tar")
    with pytest.raises(
        DatasetError, match=r"UnrealPerson.tar/all/unreal_v3.1.tar is an archive .* unpack the outer one"
    ):
        datasets.create("unrealperson", tmp_path)


TRAIN_ONLY = {"unrealperson": (unrealperson, "unreal_v3.1/"), "randperson": (randperson, "000003")}


@pytest.mark.parametrize("name", TRAIN_ONLY)
def test_unpacked_images_do_not_hide_archives_of_a_training_set(tmp_path, name):
    make, some = TRAIN_ONLY[name]
    unpack(tmp_path / name / "raw", {key: content for key, content in make().items() if some not in key})
    archive = pack_tar(tmp_path / name / "raw", {key: content for key, content in make().items() if some in key})
    with pytest.raises(DatasetError, match=f"some images are unpacked, but those of {archive} are not"):
        datasets.create(name, tmp_path)


@pytest.mark.parametrize("name", TRAIN_ONLY)
def test_archives_of_a_training_set_may_stay_beside_what_was_unpacked_from_them(tmp_path, name):
    files = TRAIN_ONLY[name][0]()
    unpack(tmp_path / name / "raw/elsewhere", files)
    pack_zip(tmp_path / name / "raw", files)
    assert len(datasets.create(name, tmp_path).trainval) == len(files)


def test_unrealperson_follows_a_published_list(tmp_path):
    listed = b"unreal_v3.1/images/333_c001_79.jpg 0 0\nunreal_v1.3/images/4_c002_1.jpg 1 3\n"
    unpack(tmp_path / "unrealperson/raw", unrealperson() | {"list_unreal_train.txt": listed})
    dataset = datasets.create("unrealperson", tmp_path)
    assert {(pid, camid) for _, pid, camid in triples(dataset, "trainval")} == {(100_333, 1), (300_004, 0)}


def test_the_draw_is_seeded_spread_over_cameras_and_prefers_complete_identities():
    records = [
        Record("trainval", f"{pid}_{camera}_{n}", f"{pid}_{camera}_{n}", pid, camera)
        for pid in range(20)
        for camera in range(3)
        for n in range(2 if pid < 10 else 10 if camera == 0 else 3)
    ]
    drawn = draw(records, num_ids=8, images_per_id=9, seed=0)
    assert drawn == draw(records[::-1], num_ids=8, images_per_id=9, seed=0)
    assert drawn != draw(records, num_ids=8, images_per_id=9, seed=1)
    by_pid = {pid: [record.camera for record in drawn if record.pid == pid] for pid in {r.pid for r in drawn}}
    assert len(by_pid) == 8
    assert min(by_pid) >= 10
    assert all(sorted(cameras) == [0, 0, 0, 1, 1, 1, 2, 2, 2] for cameras in by_pid.values())
    assert len(draw(records, num_ids=30, images_per_id=9, seed=0)) == 10 * 6 + 10 * 9


def test_randperson_counts_cameras_through_all_scenes_whatever_the_order_of_fields(tmp_path):
    pack_zip(tmp_path / "randperson/raw", randperson())
    dataset = datasets.create("randperson", tmp_path)
    assert triples(dataset, "trainval") == [
        ("000000_c00_s01_f001032.jpg", 0, 2),
        ("000000_s00_c01_f000264.jpg", 0, 1),
        ("000003_s10_c03_f000100.jpg", 3, 18),
    ]
    assert dataset.num_cameras == 19
    assert dataset.query == dataset.gallery == []


@pytest.mark.parametrize("strange", ["s04_c01", "s07_c02", "s10_c04", "s11_c00"])
def test_randperson_refuses_a_camera_that_its_scene_does_not_have(tmp_path, strange):
    name = f"000000_{strange}_f000264.jpg"
    pack_zip(tmp_path / "randperson/raw", randperson() | {name: jpeg(0)})
    with pytest.raises(DatasetError, match=f"{name}: the name is not like"):
        datasets.create("randperson", tmp_path)


def test_randperson_has_19_cameras(tmp_path):
    cameras = [2, 2, 2, 2, 1, 1, 2, 1, 1, 1, 4]
    names = [f"000000_s{s:02d}_c{c:02d}_f000264.jpg" for s, number in enumerate(cameras) for c in range(number)]
    unpack(tmp_path / "randperson/raw", {name: jpeg(0) for name in names})
    assert [camid for _, _, camid in triples(datasets.create("randperson", tmp_path), "trainval")] == list(range(19))


@pytest.mark.parametrize(
    ("asked", "home", "top"),
    [
        ("Market-1501", "market1501/raw", "Market-1501-v15.09.15"),
        ("market_1501", "Market-1501-v15.09.15", ""),
        ("market1501", "Market-1501", "a/b/Market-1501-v15.09.15"),
        ("MARKET1501", "market1501", "Market-1501-v15.09.15"),
    ],
)
def test_spellings_and_places_that_circulate(tmp_path, asked, home, top):
    unpack(tmp_path / home, {f"{top}{name[21:]}".lstrip("/"): content for name, content in market().items()})
    dataset = datasets.create(asked, tmp_path)
    assert (len(dataset.trainval), len(dataset.query), len(dataset.gallery)) == (9, 2, 5)
    assert datasets.create("market1501", tmp_path).images_dir == str(tmp_path / "market1501/images")


@pytest.mark.parametrize("spelling", ["DukeMTMC-reID", "dukemtmc-reid", "dukemtmcreid", "DukeMTMC"])
def test_duke_is_found_under_each_of_its_names(tmp_path, spelling):
    unpack(tmp_path / spelling, duke("."))
    assert len(datasets.create(spelling, tmp_path).query) == 1


def test_an_unpacked_folder_is_preferred_to_the_archive_beside_it(tmp_path):
    unpack(tmp_path / "market1501/raw", market())
    (tmp_path / "market1501/raw/Market-1501-v15.09.15.zip").write_bytes(b"a broken download")
    assert len(datasets.create("market1501", tmp_path).trainval) == 9


@pytest.mark.parametrize("form", FORMS)
def test_a_raw_folder_three_levels_down_is_found(tmp_path, form):
    FORMS[form](tmp_path / "market1501/raw", market("a/b/c"))
    assert len(datasets.create("market1501", tmp_path).query) == 2


def test_two_candidates_are_refused_rather_than_guessed(tmp_path):
    unpack(tmp_path / "msmt17/raw", msmt17() | msmt17("MSMT17_V2", "mask_train_v2", "mask_test_v2"))
    with pytest.raises(DatasetError, match=r"twice.*MSMT17_V1 and as .*MSMT17_V2; keep one"):
        datasets.create("msmt17", tmp_path)


def test_a_folder_converted_by_the_released_code_loads(tmp_path):
    """MetaAttack's personx.py numbers people in first-seen order and counts cameras from 3, with 8 slots and "3"."""
    pack_zip(tmp_path / "personx/raw", personx())
    ours = datasets.create("personx", tmp_path)
    shutil.rmtree(tmp_path / "personx/raw")
    images = tmp_path / "personx/images"
    renamed = {}
    for path in sorted(images.iterdir()):
        pid, camid, index = path.stem.split("_")
        renamed[path.name] = f"{pid}_{int(camid) + 3:02d}_{index}.jpg"
    for old, new in reversed(renamed.items()):
        (images / old).rename(images / new)
    meta = json.loads((tmp_path / "personx/meta.json").read_text())
    released = {
        "name": "PersonX", "shot": "multiple", "num_cameras": 3,
        "identities": [
            [[], [], []] + [[renamed[file] for file in files] for files in person] + [[], []]
            for person in meta["identities"]
        ],
        "query_fnames": [renamed[file] for file in meta["query_fnames"]],
        "gallery_fnames": [renamed[file] for file in meta["gallery_fnames"]],
    }  # fmt: skip
    (tmp_path / "personx/meta.json").write_text(json.dumps(released))
    theirs = datasets.create("personx", tmp_path)
    for split in ("train", "val", "trainval", "query", "gallery"):
        assert [(s.pid, s.camid) for s in getattr(theirs, split)] == [(s.pid, s.camid) for s in getattr(ours, split)]
    assert theirs.num_cameras == 3


def test_the_converted_form_is_the_one_that_the_released_code_reads(tmp_path):
    """The released `_pluck` walks identities[pid][camid] and demands that file names say the same."""
    pack_zip(tmp_path / "market1501/raw", market())
    dataset = datasets.create("market1501", tmp_path)
    meta = json.loads((tmp_path / "market1501/meta.json").read_text())
    (split,) = json.loads((tmp_path / "market1501/splits.json").read_text())
    plucked = [
        (file, pid, camid)
        for pid in split["trainval"]
        for camid, files in enumerate(meta["identities"][pid])
        for file in files
    ]
    assert all(tuple(map(int, file[:-4].split("_")))[:2] == (pid, camid) for file, pid, camid in plucked)
    assert plucked == [(s.path.rpartition("/")[2], s.pid, s.camid) for s in dataset.trainval]
    assert (split["query"], split["gallery"]) == ([1, 3], [0, 1, 3])
    assert plucked[0][0] == "00000002_00_0000.jpg"


def test_own_folders_are_used_in_place(tmp_path):
    names = [
        "train/5_c0_a.jpg",
        "train/6_c12_b.png",
        "query/0001_c3_x.jpg",
        "gallery/0001_c0_y.jpg",
        "gallery/-1_c0_z.jpg",
    ]
    unpack(tmp_path, {name: jpeg(3) for name in names})
    dataset = datasets.create("folder", tmp_path)
    assert [(s.path, s.pid, s.camid) for s in dataset.query] == [(str(tmp_path / "query/0001_c3_x.jpg"), 1, 1)]
    assert [(s.pid, s.camid) for s in dataset.trainval + dataset.gallery] == [(5, 0), (6, 2), (1, 0)]
    assert dataset.num_cameras == 3
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == sorted(names)


def test_own_folders_may_lack_train_and_may_have_markets_names(tmp_path):
    unpack(tmp_path, {"query/1_c1.jpg": jpeg(0), "bounding_box_test/1_c2.jpg": jpeg(1)})
    dataset = datasets.create("folder", tmp_path)
    assert (dataset.trainval, len(dataset.query), len(dataset.gallery)) == ([], 1, 1)


def test_own_images_in_folders_below_are_not_searched_and_the_error_says_so(tmp_path):
    unpack(tmp_path, {"query/cam1/1_c1.jpg": jpeg(0), "gallery/1_c2.jpg": jpeg(1)})
    with pytest.raises(DatasetError, match=rf"no images directly in {tmp_path}/query .*put images named like"):
        datasets.create("folder", tmp_path)


@pytest.mark.parametrize("present", [["query"], ["gallery", "train"], []])
def test_own_folders_need_query_and_gallery_together(tmp_path, present):
    unpack(tmp_path, {f"{folder}/1_c1.jpg": jpeg(0) for folder in present})
    with pytest.raises(DatasetError, match=r"needs the folders query and gallery"):
        datasets.create("folder", tmp_path)
