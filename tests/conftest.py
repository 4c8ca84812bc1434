"""What all tests share: the mode they run in, and registries that forget what a test's plugins added."""

import sys

import modes
import pytest

from reid.attacks import IMAGE, RECIPES
from reid.datasets import DATASETS
from reid.defenses import DEFENSES
from reid.evaluation.suites import SUITES
from reid.models.families import FAMILIES
from reid.training.adversaries import ADVERSARIES

modes.apply()


@pytest.fixture(autouse=True)
def forgotten_plugins(monkeypatch):
    """Whatever plugins register is gone after the test, which may load them once more."""
    for registry in (DATASETS, FAMILIES, IMAGE, RECIPES, ADVERSARIES, DEFENSES, SUITES):
        for table in ("_places", "_summaries"):
            monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    yield
    for name in [name for name in sys.modules if name.endswith(".py")]:
        del sys.modules[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Logs with file names that are not UTF-8 reach the process that collects all reports."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
