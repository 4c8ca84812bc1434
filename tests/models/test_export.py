"""Models as files of other kinds: the same features, the input in the file, and nothing where that cannot be."""

import json

import pytest
import torch

from reid import UsageError, models
from reid.models import InputSpec, formats
from reid.models.export import main
from reid.models.formats import export
from reid.models.sources import open_model
from reid.models.trial import drawn_images

SIZE = (32, 16)
KINDS = ("torchscript", "safetensors", "resnet")


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """Of a file with its size, as trainReid.py writes it."""
    folder = tmp_path_factory.mktemp("ours")
    return models.save_checkpoint(folder / "ours.pth", models.create("resnet10", 5, seed=0), height=32, width=16)


def features(spec):
    victim = models.load_victim(spec)
    with torch.no_grad():
        return victim(drawn_images(*SIZE)), victim


def assert_same(spec, again):
    (expected, first), (actual, second) = features(spec), features(again)
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()
    assert second.input == first.input
    assert second.differentiable
    assert (open_model(again).certain, open_model(again).distance) == (True, open_model(spec).distance)


def loaded(kind, path):
    return f"torchscript:{path}" if kind == "torchscript" else path


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_features_and_has_the_input(kind, ours, tmp_path, caplog):
    path = tmp_path / "new"
    line = export(ours, kind, path)
    assert f"--resume {loaded(kind, path)};" in line
    assert_same(ours, loaded(kind, path))
    assert InputSpec.read(f"{path}.json") == models.load_victim(ours).input
    assert sorted(each.name for each in tmp_path.iterdir()) == ["new", "new.json"]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    "arch",
    [name if name == "resnet10" else pytest.param(name, marks=pytest.mark.slow) for name in models.names()],
)
def test_every_architecture_of_ours_to_onnx_and_back(arch, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx2pytorch")
    path = models.save_checkpoint(tmp_path / "ours.pth", models.create(arch, 3, seed=1), height=32, width=16)
    export(path, "onnx", tmp_path / "ours.onnx")
    assert_same(path, tmp_path / "ours.onnx")
    images = torch.rand(5, 3, 48, 32, generator=torch.Generator().manual_seed(0))  # it takes any number, of any size
    with torch.no_grad():
        first, second = (models.load_victim(each, size=(48, 32))(images) for each in (path, tmp_path / "ours.onnx"))
    assert (first - second).abs().max() < 1e-4 * first.abs().max()
    stated = {prop.key: prop.value for prop in onnx.load(tmp_path / "ours.onnx").metadata_props}
    assert InputSpec.of(stated["input"], "the file") == models.load_victim(path).input


def test_another_preprocessing_and_size_go_into_the_file(ours, tmp_path):
    for kind in KINDS:
        export(ours, kind, tmp_path / kind, preprocessing="half-bgr", size=(24, 24))
        again = models.load_victim(loaded(kind, tmp_path / kind))
        stated = InputSpec(24, 24, None, "bgr", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        assert again.input == stated == InputSpec.read(tmp_path / f"{kind}.json")


def test_an_exported_input_is_a_preprocessing(ours, tmp_path):
    export(ours, "resnet", tmp_path / "x", preprocessing="half")
    victim = models.load_victim(ours, preprocessing=f"{tmp_path}/x.json")
    assert victim.input.mean == (0.5, 0.5, 0.5)


def test_the_variant_of_a_checkpoint_is_kept(tmp_path, monkeypatch, ours, caplog):
    from reid.models.families.resnet import ResNetFamily

    built = []

    class Two(ResNetFamily):
        def variants(self, state, content):
            return ("first", "second")

        def build(self, state, path, variant=""):
            built.append(variant)
            return super().build(state, path)

    from reid.models.families import FAMILIES

    monkeypatch.setitem(FAMILIES._places, "resnet", Two)
    for kind in ("resnet", "safetensors"):
        export(ours, kind, tmp_path / kind, preprocessing="own/second")
        assert open_model(tmp_path / kind).variants == ("second",)
    assert set(built) == {"second"}


@pytest.mark.parametrize(
    ("to", "spec", "words"),
    [
        ("onxx", "ours", "no kind of file is called .onxx.; did you mean onnx"),
        ("refused", "ours", "no kind of file is called .refused."),
        ("osnet", "ours", "has the keys of the family resnet, not osnet; give --to resnet"),
        ("safetensors", "functions:linear", "is no checkpoint, .*give --to onnx or --to torchscript"),
        ("torchscript", "functions:arrays", "gives scores only"),
        ("torchscript", "functions:unknown", "does not say how it wants its images; .*reid.models.detective"),
        ("torchscript", "functions:counts", "cannot be written as torchscript .*give another --to"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_no_file(to, spec, words, ours, user_functions, tmp_path):
    with pytest.raises(UsageError, match=words) as caught:
        export(ours if spec == "ours" else spec, to, tmp_path / "out" / "x")
    assert len(str(caught.value)) <= 512
    assert not [*tmp_path.glob("out/*")]


def test_a_file_that_gives_other_features_is_not_left(ours, tmp_path, monkeypatch):
    monkeypatch.setattr(formats.Bare, "forward", lambda self, images: 1.001 * self.model.features(images))
    with pytest.raises(UsageError, match="was not exported: as torchscript it gives features that differ by 1e-03"):
        export(ours, "torchscript", tmp_path / "x")
    assert not [*tmp_path.iterdir()]


def test_a_network_that_cannot_be_traced_is_one_line(tmp_path, ours, monkeypatch, capfd):
    pytest.importorskip("onnx")
    monkeypatch.setattr(formats.Bare, "forward", lambda self, images: torch.linalg.svdvals(images).flatten(1))
    with pytest.raises(UsageError, match=r"cannot be written as onnx .*svd.*give another --to"):
        export(ours, "onnx", tmp_path / "x.onnx")
    assert "graph(" not in "".join(capfd.readouterr())
    assert not [*tmp_path.iterdir()]


def test_the_command_prints_one_line_and_replaces_nothing_unasked(ours, tmp_path, capsys):
    options = [str(ours), "--to", "resnet", "--out", str(tmp_path / "x.pth")]
    main(options)
    assert capsys.readouterr().out.count("\n") == 1
    before = (tmp_path / "x.pth").read_bytes()
    with pytest.raises(UsageError, match=r"x\.pth is there already; give another --out, or --overwrite"):
        main([*options, "--preprocessing", "unit"])
    assert (tmp_path / "x.pth").read_bytes() == before
    main([*options, "--preprocessing", "unit", "--overwrite"])
    assert json.loads((tmp_path / "x.pth.json").read_text())["mean"] == [0, 0, 0]
