import logging
import os
import pickle
import re

import numpy as np
import pytest
import torch

from reid import CheckpointError, UsageError, attacks
from reid.attacks import Threat, controls

THREAT = Threat(8 / 255, 4 / 255, "gallery")


@pytest.fixture(params=[0, 1, 2])
def noise(request):
    make = {
        0: lambda: controls.random_both(THREAT, 0, 16, 8),
        1: lambda: controls.random_lut(THREAT, 0),
        2: lambda: controls.random_sign(THREAT, 0, 16, 8),
    }
    return make[request.param]()


class TestOurs:
    def test_a_reloaded_attacker_is_the_same_to_the_bit(self, noise, images, tmp_path):
        path = attacks.save(tmp_path / "new" / "noise.pth", noise, {})
        again = attacks.load(path)
        assert torch.equal(again(images), noise(images))
        assert again.threat == noise.threat
        assert again.noise_type == noise.noise_type
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), noise.parameters(), strict=True))

    def test_what_was_not_projected_is_saved_projected(self, noise, tmp_path):
        with torch.no_grad():
            for parameter in noise.parameters():
                parameter.add_(0.1)
        before = [p.detach().clone() for p in noise.parameters()]
        path = attacks.save(tmp_path / "noise.pth", noise, {})
        assert all(torch.equal(p, b) for p, b in zip(noise.parameters(), before, strict=True))
        noise.project_()
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.equal(state[name], p) for name, p in noise.named_parameters())

    def test_the_file_holds_plain_values_only(self, noise, tmp_path):
        provenance = {"source": "market1501", "seed": 0, "epochs": 5, "seconds": 1.5, "mte": None, "sets": ["a", "b"]}
        path = attacks.save(tmp_path / "noise.pth", noise, provenance)
        content = torch.load(path, weights_only=True)
        assert set(content) == {"state_dict", "noise_type", "threat", "provenance"}
        assert content["noise_type"] == noise.noise_type
        assert content["threat"] == noise.threat.to_dict()
        assert content["provenance"] == provenance
        assert attacks.load(path).provenance == provenance

    def test_another_budget_can_be_imposed(self, noise, tmp_path):
        path = attacks.save(tmp_path / "noise.pth", noise, {})
        tighter = attacks.load(path, eps="2/255")
        for box in tighter.boxes().values():
            assert box.eps == 2 / 255
        assert tighter.threat.side == "gallery"
        assert max(tighter.measure(torch.full((1, 3, 16, 8), 0.5)).values()) <= 4.5 / 255 + 1e-6

    def test_saving_that_fails_leaves_the_old_file(self, noise, tmp_path, monkeypatch):
        path = attacks.save(tmp_path / "noise.pth", noise, {})
        before = path.read_bytes()

        def fail(*_):
            raise OSError("disk full")

        monkeypatch.setattr(torch, "save", fail)
        with pytest.raises(OSError, match="disk full"):
            attacks.save(path, noise, {"other": 1})
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["noise.pth"]

    def test_provenance_that_is_no_plain_data_is_refused_before_writing(self, noise, tmp_path):
        with pytest.raises(TypeError):
            attacks.save(tmp_path / "noise.pth", noise, {"path": tmp_path})
        assert not os.listdir(tmp_path)


class TestReleased:
    @pytest.mark.parametrize("noise_type", [0, 1, 2])
    def test_type_and_values_come_from_the_file(self, released, noise_type):
        noise = attacks.load(released(noise_type))
        stored = torch.load(released(noise_type), map_location="cpu", weights_only=True)
        assert noise.noise_type == noise_type
        for name, parameter in noise.named_parameters():
            assert parameter.device.type == "cpu"
            torch.testing.assert_close(parameter.detach(), stored[name], rtol=0, atol=1e-7)

    def test_the_budget_is_that_of_the_released_scripts_unless_given(self, released):
        assert attacks.load(released(0)).threat == Threat(8 / 255, 8 / 255)
        assert attacks.load(released(2), eps=4 / 255).threat == Threat(0, 4 / 255)
        assert attacks.load(str(released(1)), eps="4/255").threat == Threat(4 / 255, 0)

    @pytest.mark.parametrize("noise_type", [0, 1, 2])
    def test_values_beyond_the_budget_are_projected(self, golden, released, noise_type, tmp_path):
        raw = {k.removeprefix("raw/"): v for k, v in golden(f"perturbation_type{noise_type}").items() if "raw/" in k}
        torch.save(raw, tmp_path / "raw.pth", _use_new_zipfile_serialization=False)
        noise, projected = attacks.load(tmp_path / "raw.pth"), attacks.load(released(noise_type))
        for name, parameter in noise.named_parameters():
            assert not torch.equal(parameter, raw[name])
            torch.testing.assert_close(parameter, dict(projected.named_parameters())[name], rtol=0, atol=1e-7)


class TestPlainArrays:
    """Additive images of other systems: `.npy` or a saved tensor, with or without a batch dimension."""

    DELTA = np.linspace(-10 / 255, 10 / 255, 3 * 6 * 4, dtype=np.float32).reshape(3, 6, 4)

    @pytest.mark.parametrize("shape", [(3, 6, 4), (1, 3, 6, 4)])
    @pytest.mark.parametrize("kind", ["npy", "pth"])
    def test_become_noise_type_2_within_the_budget(self, shape, kind, tmp_path):
        path = tmp_path / f"uap.{kind}"
        delta = self.DELTA.reshape(shape)
        np.save(path, delta.astype(np.float64)) if kind == "npy" else torch.save(torch.from_numpy(delta), path)
        noise = attacks.load(path)
        assert noise.noise_type == 2
        np.testing.assert_allclose(noise.delta.detach().numpy()[0], self.DELTA.clip(-8 / 255, 8 / 255), atol=1e-7)

    def test_take_the_budget_that_is_given(self, tmp_path):
        np.save(tmp_path / "uap.npy", self.DELTA)
        noise = attacks.load(tmp_path / "uap.npy", eps="10/255")
        np.testing.assert_allclose(noise.delta.detach().numpy()[0], self.DELTA, atol=1e-7)

    def test_in_grey_levels_or_with_the_channels_last_are_taken_with_a_word(self, tmp_path, caplog):
        np.save(tmp_path / "uap.npy", (self.DELTA * 255).transpose(1, 2, 0))
        with caplog.at_level(logging.INFO):
            noise = attacks.load(tmp_path / "uap.npy", eps="10/255")
        np.testing.assert_allclose(noise.delta.detach().numpy()[0], self.DELTA, atol=1e-7)
        assert "uap.npy is taken with the channels last, in grey levels" in caplog.text

    def test_beyond_the_budget_are_cut_with_a_word(self, tmp_path, caplog):
        np.save(tmp_path / "uap.npy", self.DELTA)
        attacks.load(tmp_path / "uap.npy")
        assert "uap.npy changes images by up to 10/255; it is cut to 8/255" in caplog.text

    def test_of_another_size_are_resized_with_a_word(self, images, tmp_path, caplog):
        np.save(tmp_path / "uap.npy", self.DELTA)
        noise = attacks.load(tmp_path / "uap.npy", eps=1)
        with caplog.at_level(logging.INFO):
            moved = [noise(images) for _ in range(2)]
        assert torch.equal(*moved)
        height, width = images.shape[2:]
        assert caplog.text.count(f"a perturbation of 6 x 4 is resized to images of {height} x {width}") == 1


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("owned",)


def wrong_files():
    table, delta = torch.zeros(1, 25, 25, 25, 3), torch.zeros(1, 3, 4, 2)
    threat = Threat(0, 8 / 255).to_dict()
    return {
        "model": ({"state_dict": {"base.conv1.weight": delta, "feat.weight": delta}, "epoch": 3}, "base.conv1.weight"),
        "unknown keys": ({"delta": delta, "extra": delta}, "delta, extra"),
        "keys of several lines": ({"delta\nextra": delta}, "holds delta extra, not"),
        "numbered keys": ({1: delta}, "holds 1, not"),
        "empty dict": ({}, r"no entries \(dict\)"),
        "number": (3, r"no entries \(int\)"),
        "list": ([delta], r"no entries \(list\)"),
        "wrong delta": ({"delta": torch.zeros(1, 1, 4, 2)}, r"delta is \[1, 1, 4, 2\]"),
        "flat delta": ({"delta": torch.zeros(24)}, r"delta is \[24\]"),
        "no pixels": ({"delta": torch.zeros(1, 3, 0, 2)}, r"delta is \[1, 3, 0, 2\]"),
        "wrong table": ({"xform.xform_params": table[:, :5]}, r"xform_params is \[1, 5, 25, 25, 3\]"),
        "no tensor": ({"delta": "zeros"}, "holds delta, not"),
        "nan": ({"delta": delta / 0}, "no finite numbers"),
        "infinite": ({"delta": delta + float("inf")}, "no finite numbers"),
        "integers": ({"delta": delta.long()}, r"int64 in \[0, 0\], of which the unit is not certain"),
        "grey levels": ({"delta": delta + 8}, "divide by 255"),
        "no threat": ({"state_dict": {"delta": delta}, "threat": {"eps": 1}}, "no usable threat"),
        "threat of a stranger": ({"state_dict": {"delta": delta}, "threat": {**threat, "eps_delta": 8}}, "no usable"),
        "threat is text": ({"state_dict": {"delta": delta}, "threat": "8/255"}, "no usable threat"),
    }


class TestWrongFiles:
    """Each gets one line that names the file."""

    def refused(self, path, pattern):
        with pytest.raises(CheckpointError, match=pattern) as caught:
            attacks.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", wrong_files())
    def test_of_another_content(self, name, tmp_path):
        content, pattern = wrong_files()[name]
        torch.save(content, tmp_path / "file.pth")
        self.refused(tmp_path / "file.pth", pattern)

    @pytest.mark.parametrize("suffix", ["pth", "npy"])
    def test_missing(self, suffix, tmp_path):
        self.refused(tmp_path / f"none.{suffix}", "no such")

    @pytest.mark.parametrize("suffix", ["pth", "npy"])
    @pytest.mark.parametrize(
        "content", [b"", b"<!DOCTYPE html><html>quota exceeded</html>", b"\x80\x02}q", b"PK\x03\x04"]
    )
    def test_damaged(self, suffix, content, tmp_path):
        (tmp_path / f"file.{suffix}").write_bytes(content)
        self.refused(tmp_path / f"file.{suffix}", ".")

    @pytest.mark.parametrize("noise_type", [0, 1, 2])
    def test_truncated(self, released, noise_type, tmp_path):
        (tmp_path / "file.pth").write_bytes(released(noise_type).read_bytes()[:-1000])
        self.refused(tmp_path / "file.pth", "damaged")

    def test_a_truncated_array(self, tmp_path):
        np.save(tmp_path / "whole.npy", np.zeros((3, 8, 4), dtype=np.float32))
        (tmp_path / "file.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-8])
        self.refused(tmp_path / "file.npy", "damaged")

    def test_an_archive_of_several_arrays(self, tmp_path):
        np.savez(tmp_path / "file.npz", delta=np.zeros((3, 8, 4)), v=np.zeros((3, 8, 4)))
        os.rename(tmp_path / "file.npz", tmp_path / "file.npy")
        self.refused(tmp_path / "file.npy", "holds delta, v, not")

    @pytest.mark.parametrize("suffix", ["pth", "npy"])
    def test_code_in_a_file_is_never_run(self, suffix, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = tmp_path / f"file.{suffix}"
        if suffix == "npy":
            np.save(path, np.array([Malicious()], dtype=object), allow_pickle=True)
        else:
            path.write_bytes(pickle.dumps({"delta": Malicious()}, protocol=2))
        self.refused(path, ".")
        assert not (tmp_path / "owned").exists()

    def test_a_budget_that_is_none(self, released):
        with pytest.raises(UsageError, match=re.escape("did you mean 8/255?")):
            attacks.load(released(2), eps=8)
