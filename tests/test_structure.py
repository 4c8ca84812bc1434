"""The rules of the design that can be read from the source: where imports point, how long files are, who prints."""

import shutil
from pathlib import Path

import pytest
from structure import Tree

ROOT = Path(__file__).parents[1]
SCRIPTS = ("trainReid.py", "metaAttack.py", "metaDefense.py", "evaluate.py")


@pytest.fixture(scope="module")
def reid() -> Tree:
    return Tree(ROOT / "reid")


def test_no_import_points_upwards(reid):
    assert reid.upward() == []


def test_no_circle_of_imports(reid):
    assert reid.circle() == []


def test_the_library_does_not_grow(reid):
    """Whoever makes it smaller lowers the number. Drawn people, the families of others, and what is shown are apart."""
    assert reid.lines(without=["synthperson", "models.families", "report", "leaderboard"]) <= 17_490


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_stay_short(script):
    assert len((ROOT / script).read_text().splitlines()) <= 150


def test_functions_take_what_they_need_by_name(reid):
    assert reid.names_namespace(allowed=["reid.runtime.cli"]) == []


def test_only_commands_read_the_arguments_and_print(reid):
    assert reid.reads_arguments() == []
    assert reid.prints(allowed=["reid.runtime.job"]) == []  # the line with which a job of many processes ends


# The checks themselves, on packages made up for them.


@pytest.fixture
def tree(tmp_path):
    """A function that writes {path: source} as the package reid and reads it."""

    def write(files: dict[str, str]) -> Tree:
        shutil.rmtree(tmp_path / "reid", ignore_errors=True)
        packages = {f"{Path(path).parent}/__init__.py": "" for path in files}
        for path, source in {"__init__.py": "", **packages, **files}.items():
            file = tmp_path / "reid" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
        return Tree(tmp_path / "reid")

    return write


UPWARD = (
    "import reid.models.victim",
    "from reid.models import victim",
    "from reid.models.victim import Victim",
    "from reid import models",
    "from ..models import victim",
    "def late():\n    from reid.models import victim",
    "if TYPE_CHECKING:\n    from reid.models.victim import Victim",
    'TABLE = {"victim": ("reid.models.victim:Victim", "a model")}',
)


@pytest.mark.parametrize("source", UPWARD)
def test_an_import_upwards_is_seen(tree, source):
    files = {"models/victim.py": "", "datasets/base.py": source}
    assert [breach.partition(" imports ")[0] for breach in tree(files).upward()] == [
        f"{tree(files).modules['reid.datasets.base'][0]}:{1 + source.count(chr(10))}: reid.datasets.base"
    ]


@pytest.mark.parametrize("source", UPWARD)
def test_the_same_import_downwards_or_within_a_folder_is_none(tree, source):
    assert tree({"models/victim.py": "", "attacks/base.py": source, "models/load.py": source}).upward() == []


def test_folders_of_one_level_do_not_import_each_other(tree):
    assert tree({"models/a.py": "from reid.loading import b", "loading/b.py": ""}).upward()
    assert tree({"loading/b.py": "from reid.synthperson import c", "synthperson/c.py": ""}).upward()


def test_nothing_imports_the_list_of_commands_and_errors_import_nothing(tree):
    assert tree({"report/a.py": "from reid import __main__", "__main__.py": ""}).upward()
    assert tree({"errors.py": "from reid import runtime", "runtime/a.py": ""}).upward()
    assert tree({"__init__.py": "from reid.errors import ReidError", "errors.py": ""}).upward() == []


def test_a_command_imports_anything_and_nothing_imports_it(tree):
    command = 'from reid.report import a\nif __name__ == "__main__":\n    print(argparse.Namespace)'
    files = {"models/run.py": command, "datasets/__main__.py": "from reid.report import a", "report/a.py": ""}
    assert tree(files).upward() + tree(files).prints() + tree(files).names_namespace() == []
    assert tree(files | {"report/a.py": "from reid.models import run"}).upward()
    assert tree({"models/run.py": "from reid.report import a", "report/a.py": ""}).upward()


def test_a_circle_is_seen_whatever_its_length_and_for_types_too(tree):
    assert set(tree({"a.py": "from reid import b", "b.py": "import reid.c", "c.py": "from .a import x"}).circle()) == {
        "reid.a",
        "reid.b",
        "reid.c",
    }
    assert tree({"a.py": "import reid.b", "b.py": "", "c.py": ""}).circle() == []
    assert tree({"a.py": "import reid.b", "b.py": "if typing.TYPE_CHECKING:\n    import reid.a"}).circle()


def test_a_package_may_name_the_types_of_its_own_modules(tree):
    types = "if TYPE_CHECKING:\n    from reid.a.b import B"
    assert tree({"a/__init__.py": types, "a/b.py": "from reid.a import A"}).circle() == []
    assert tree({"a/__init__.py": "from reid.a.b import B", "a/b.py": "from reid.a import A"}).circle()


def test_imports_in_functions_and_in_text_close_no_circle(tree):
    late = 'TABLE = ["reid.a:A"]\n\ndef f():\n    import reid.a'
    assert tree({"a.py": "import reid.b", "b.py": late}).circle() == []


def test_lines_are_counted_without_some_folders(tree):
    files = {"a.py": "1\n2\n", "models/b.py": "3\n", "synthperson/c.py": "4\n" * 9}
    assert (tree(files).lines(), tree(files).lines(without=["synthperson"])) == (12, 3)


@pytest.mark.parametrize(
    "source",
    [
        "def f(args: argparse.Namespace): ...",
        "def f() -> 'argparse.Namespace': ...",
        "from argparse import Namespace",
        "x = argparse.Namespace(a=1)",
    ],
)
def test_a_namespace_is_seen_where_it_is_not_allowed(tree, source):
    files = {"models/a.py": source, "models/__main__.py": source, "runtime/cli.py": source}
    assert [Path(line).name for line in tree(files).names_namespace(allowed=["reid.runtime.cli"])] == [
        "a.py:1: names argparse.Namespace"
    ]


def test_other_namespaces_are_none(tree):
    assert tree({"a.py": "from types import SimpleNamespace\nx = types.SimpleNamespace()"}).names_namespace() == []


@pytest.mark.parametrize("source", ["x = sys.argv[1:]", "from sys import argv", "def f(x=sys.argv): ..."])
def test_reading_the_arguments_is_seen_but_for_commands(tree, source):
    files = {"models/a.py": source, "models/__main__.py": source}
    assert [Path(line).name for line in tree(files).reads_arguments()] == ["a.py:1: reads sys.argv"]


@pytest.mark.parametrize("source", ["print(1)", "def f():\n    print(1)", "say = print"])
def test_printing_is_seen_but_for_commands_and_what_is_allowed(tree, source):
    files = {"models/a.py": source, "models/__main__.py": source, "runtime/job.py": source + "\nx.print()"}
    breaches = tree(files).prints(allowed=["reid.runtime.job"])
    assert len(breaches) == 1
    assert "models/a.py" in breaches[0]
