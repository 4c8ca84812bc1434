"""The list of commands, and command lines that answer without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from reid.__main__ import commands, main

ROOT = Path(__file__).parents[2]


def test_the_list_has_every_script_and_every_module_that_runs(capsys):
    main([])
    lines = capsys.readouterr().out.splitlines()
    calls = [line.split("  ")[0] for line in lines]
    assert {f"python {script}.py" for script in ("trainReid", "metaAttack", "metaDefense", "evaluate")} <= set(calls)
    modules = ("reid.datasets", "reid.synthperson", "reid.report", "studies.curve")
    assert {f"python -m {module}" for module in modules} <= set(calls)
    assert all(len(line.split("  ")[-1]) > 20 for line in lines)
    assert len(calls) == len(set(calls)) == len(list(commands()))


def test_each_command_of_the_list_can_be_called():
    for call, _ in commands():
        name = call.split()[-1]
        path = ROOT / (name if name.endswith(".py") else name.replace(".", "/") + ".py")
        assert path.exists() or (path.with_suffix("") / "__main__.py").exists()


@pytest.mark.parametrize("call", [["-m", "reid"], ["-m", "reid.datasets"]])
def test_a_mistyped_option_is_one_line(call):
    done = subprocess.run([sys.executable, *call, "--hepl"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert (
        done.stderr == f"error: no option is called --hepl; did you mean --help? See python {' '.join(call)} --help\n"
    )


def test_every_folder_is_a_package_that_pip_installs():
    folders = {path.parent for path in (ROOT / "reid").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_command_that_computes_sets_its_process_up():
    """In a line with the choice of its device: only then is what it computes repeatable on a GPU."""
    lines = [
        line.strip()
        for path in [*ROOT.glob("*.py"), *(ROOT / "reid").rglob("*.py"), *(ROOT / "studies").rglob("*.py")]
        for line in path.read_text().splitlines()
    ]
    choices = [line for line in lines if "resolve(args.device" in line]
    assert len(choices) >= 6
    assert all("set_up(" in line for line in choices)
