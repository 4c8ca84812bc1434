"""A defence of a user's own: a file that metaDefense.py runs first, its options among the others, no change in reid."""

import subprocess
import sys
from pathlib import Path

import pytest

import metaDefense
from reid.runtime.torchfiles import read_torch

TOY = Path(__file__).parents[1] / "plugins" / "toy_defense.py"


def test_is_thirty_lines():
    assert len(TOY.read_text().splitlines()) <= 30


def test_appears_in_help_with_its_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        metaDefense.main(["--plugin", str(TOY), "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    assert "toy: re-ID loss, plus the distance of perturbed features from clean ones" in shown
    assert "--toy-weight TOY_WEIGHT weight of the distance (default: 1.0)" in shown


def test_help_needs_no_torch():
    code = (
        "import sys, metaDefense, trainReid\nfor script in (metaDefense, trainReid):\n"
        "    try:\n        script.main(['--help'])\n    except SystemExit:\n        pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=TOY.parents[2], check=True, capture_output=True)


def test_trains_by_its_loss_and_option(defense_options, tmp_path):
    options = ["--plugin", str(TOY), *defense_options, "--defense", "toy", "--attacker", "online", "--epochs", "1"]
    weights = []
    for weight in ("1", "1", "50"):
        logs = tmp_path / str(len(weights))
        metaDefense.main([*options, "--toy-weight", weight, "--logs_dir", str(logs)])
        content = read_torch(logs / "model_best.pth")
        assert (content["settings"]["defense"], content["settings"]["toy_weight"]) == ("toy", f"{float(weight)}")
        weights.append(content["state_dict"]["base.conv1.weight"])
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])
