"""Reads the source of a package and says where it breaks the rules of its design; nothing of it is imported.

A breach is one line, `file:line: what is wrong`; where a rule holds, its check returns an empty list.
"""

import ast
import re
from collections.abc import Callable, Container, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

LEVELS = {  # of what lies directly in the package: imports go to a lower level, or stay in their own folder
    "errors": -1,
    "guard": -1,
    "": 0,  # the package's own __init__, which every import runs
    "runtime": 1,
    "datasets": 2,
    "models": 3,
    "loading": 3,
    "synthperson": 3,
    "attacks": 4,
    "training": 5,
    "defenses": 6,
    "evaluation": 7,
    "report": 8,
    "leaderboard": 8,
}
TOP = 9  # whatever else lies in the package, and commands, which parse and wire like a script: nothing imports them


class Import(NamedTuple):
    """An import of one module of the package by another, or by itself."""

    source: str
    target: str
    line: int
    kind: str  # "module" level, in a "function", for "types" only, or "text" such as "reid.attacks.image.pgd:PGD"


class Tree:
    """The modules of the package in `folder`, by their dotted names: path and syntax tree."""

    def __init__(self, folder: Path) -> None:
        self.modules: dict[str, tuple[Path, ast.Module]] = {}
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
            self.modules[name] = path, ast.parse(path.read_text(), str(path))

    def imports(self) -> Iterator[Import]:
        """All imports within the package, whatever their kind."""
        for source, (path, tree) in self.modules.items():
            package = source if path.name == "__init__.py" else source.rpartition(".")[0]
            kinds = _kinds(tree)
            for node in ast.walk(tree):
                for name in _imported_names(node, package):
                    target = name if name in self.modules else name.rpartition(".")[0]
                    if target in self.modules:
                        kind = "text" if isinstance(node, ast.Constant) else kinds.get(node, "module")
                        yield Import(source, target, node.lineno, kind)

    def upward(self) -> list[str]:
        """Imports, of any kind, of a higher level or of another folder of the same level."""
        breaches = []
        for source, target, line, _ in self.imports():
            folder, other = _folder(source), _folder(target)
            level, other_level = self._level(source), self._level(target)
            if other_level > level or (other_level == level and other != folder):
                breaches.append(f"{self._place(source, line)}: {source} imports {target}")
        return sorted(set(breaches))

    def circle(self) -> list[str]:
        """The modules of a circle of imports, at module level or for types only, if there is one.

        A package may name the types of its own modules.
        """
        graph: dict[str, set[str]] = {}
        for source, target, _, kind in self.imports():
            own_types = kind == "types" and target.startswith(f"{source}.")
            if source != target and kind in ("module", "types") and not own_types:
                graph.setdefault(source, set()).add(target)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            return error.args[1]
        return []

    def lines(self, without: Sequence[str] = ()) -> int:
        """The number of lines of all files but those in the folders `without`, dotted below the package."""
        below = tuple(f".{folder}." for folder in without)
        kept = [path for name, (path, _) in self.modules.items() if not f".{name.partition('.')[2]}.".startswith(below)]
        return sum(len(path.read_text().splitlines()) for path in kept)

    def names_namespace(self, allowed: Container[str] = ()) -> list[str]:
        """Where argparse.Namespace is named, other than in `allowed` modules and in commands."""
        return self._breaches(allowed, "names argparse.Namespace", lambda node: _names(node, "argparse", "Namespace"))

    def reads_arguments(self, allowed: Container[str] = ()) -> list[str]:
        """Where sys.argv is named, other than in `allowed` modules and in commands."""
        return self._breaches(allowed, "reads sys.argv", lambda node: _names(node, "sys", "argv"))

    def prints(self, allowed: Container[str] = ()) -> list[str]:
        """Where print is named, other than in `allowed` modules and in commands."""
        return self._breaches(allowed, "prints", lambda node: isinstance(node, ast.Name) and node.id == "print")

    def _breaches(self, allowed: Container[str], what: str, breaks: Callable[[ast.AST], bool]) -> list[str]:
        return [
            f"{self._place(module, node.lineno)}: {what}"
            for module, (_, tree) in self.modules.items()
            if module not in allowed and not self._is_command(module)
            for node in ast.walk(tree)
            if breaks(node)
        ]

    def _level(self, module: str) -> int:
        return TOP if self._is_command(module) else LEVELS.get(_folder(module), TOP)

    def _is_command(self, module: str) -> bool:
        """Whether a module is for `python -m`: a __main__, or one that ends with its guard."""
        path, tree = self.modules[module]
        guards = (ast.unparse(node.test) for node in tree.body if isinstance(node, ast.If))
        return path.name == "__main__.py" or "__name__ == '__main__'" in guards

    def _place(self, module: str, line: int) -> str:
        return f"{self.modules[module][0]}:{line}"


def _folder(module: str) -> str:
    """What a module is or lies in directly below the package; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def _kinds(tree: ast.Module) -> dict[ast.AST, str]:
    """The kind of the imports that are not at module level, by their nodes."""
    kinds: dict[ast.AST, str] = {}
    for block in ast.walk(tree):
        if isinstance(block, ast.FunctionDef | ast.AsyncFunctionDef):
            kinds |= dict.fromkeys(ast.walk(block), "function")
        elif isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING"):
            kinds |= {node: "types" for statement in block.body for node in ast.walk(statement)}
    return kinds


def _imported_names(node: ast.AST, package: str) -> list[str]:
    """The dotted names that a node of a module in `package` imports, now or, being text, later."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
        return [".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.findall(r"^(\w+(?:\.\w+)+)(?::\w+)?$", node.value)
    return []


def _names(node: ast.AST, module: str, attribute: str) -> bool:
    """Whether a node is `module.attribute`, also in quotes, or imports it."""
    if isinstance(node, ast.ImportFrom):
        return node.module == module and attribute in [alias.name for alias in node.names]
    if isinstance(node, ast.Constant):
        return node.value == f"{module}.{attribute}"
    return isinstance(node, ast.Attribute) and ast.unparse(node) == f"{module}.{attribute}"
