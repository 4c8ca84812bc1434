"""Packages that only some users need (requirements-extras.txt)."""

import importlib
from typing import Any

from reid.errors import UsageError


def extra(package: str, purpose: str) -> Any:
    """The module `package`. Raises UsageError, with the command that installs it, where it is missing or broken."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        install = f"pip install {package.partition('.')[0]}, or pip install -r requirements-extras.txt"
        raise UsageError(f"{purpose} needs the package {package} ({error}); {install}") from error
