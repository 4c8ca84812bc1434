import pytest
import torch

from reid import CheckpointError, models
from reid.errors import few
from reid.models.architectures import Layout, layout_of


@pytest.mark.parametrize("arch", models.names())
def test_the_keys_tell_architecture_and_number_of_classes(arch, skeleton):
    assert layout_of(skeleton(arch, 13).state_dict(), "file") == Layout(arch, 13)


@pytest.mark.parametrize("layout", ["resnet50_num_classes_751", "resnet18_num_classes_10", "resMeta_num_classes_751"])
def test_the_released_layouts_are_told_apart(layout, layouts):
    state = {key: torch.empty(shape, device="meta") for key, (shape, _) in layouts[layout].items()}
    arch, _, num_classes = layout.partition("_num_classes_")
    assert layout_of(state, "file") == Layout(arch, int(num_classes))


def test_a_file_without_a_head_has_no_number_of_classes(skeleton):
    state = {key: value for key, value in skeleton("resnet34", 3).state_dict().items() if "classifier" not in key}
    assert layout_of(state, "file") == Layout("resnet34", None)


def _without(state, part):
    return {key: value for key, value in state.items() if part not in key}


def _cases():
    with torch.device("meta"):
        resnet, meta = (models.create(arch, 3).state_dict() for arch in ("resnet50", "resMeta"))
        shallow = models.create("resnet18", 3).state_dict()
    imagenet = {key.removeprefix("base."): value for key, value in resnet.items() if key.startswith("base.")}
    renamed = {key.replace("classifier_x2", "classifier"): value for key, value in resnet.items()}
    return {
        "resMeta without its head": (_without(meta, "classifier"), "stem is not known"),
        "head of resMeta beside base.fc": (renamed, "stem is not known"),
        "head of resMeta on a resnet18": (
            _without(
                {key.replace("classifier_x2", "classifier"): value for key, value in shallow.items()},
                "base.fc",
            ),
            "is a resnet18 with neither",
        ),
        "ImageNet backbone": (imagenet, "is an ImageNet backbone, not a re-ID model"),
        "lost blocks": (_without(resnet, "layer3.4"), r"\[3, 4, 5, 3\] blocks"),
        "foreign network": ({"backbone.0.weight": torch.zeros(1)}, "no re-ID model of a known layout"),
        "head without shape": (
            meta | {"classifier.weight": torch.zeros(())},
            r"classifier.weight of shape \(\)",
        ),
        "colour attacker": ({"xform.xform_params": torch.zeros(1)}, "is an attacker"),
        "combined attacker": (
            {"layer_00.xform.xform_params": torch.zeros(1), "layer_01.delta": torch.zeros(1)},
            "is an attacker",
        ),
    }


@pytest.mark.parametrize(("state", "message"), _cases().values(), ids=_cases().keys())
def test_what_is_no_known_model_is_refused_by_name(state, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        layout_of(state, "some/file.pth")
    assert str(caught.value).startswith("some/file.pth ")
    assert "\n" not in str(caught.value)


def test_names_in_messages_stay_short_and_on_one_line():
    assert few(["a", "b"]) == "a, b"
    assert few(["a\nb", "c" * 100, "d", "e"]) == f"a b, {'c' * 60}, d, ..."
