"""The commands of studies and report answer --help at once: without torch and matplotlib."""

import subprocess
import sys

import pytest

COMMANDS = ("studies.defense", "studies.record", "studies.demo", "studies.seeds", "studies.curve", "reid.report")
COMMANDS += ("reid.report.picture", "reid.leaderboard", "reid.leaderboard.add")
HELP = """
import runpy, sys
sys.argv = [{name!r}, "--help"]
try:
    runpy.run_module({name!r}, run_name="__main__")
except SystemExit as left:
    assert left.code == 0
print(*sorted(dict.fromkeys(name.partition(".")[0] for name in sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_slow(name):
    done = subprocess.run([sys.executable, "-c", HELP.format(name=name)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: python -m {name} ")
    assert not {"torch", "matplotlib"} & set(done.stderr.split())
