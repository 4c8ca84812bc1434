#!/usr/bin/env bash
# The whole test run: environment, linter, types, tests.   bash runTests.sh [pytest options]
# Tests run in two processes; -n 0 runs them in one.
# Tests that take minutes are left out: bash runTests.sh -m slow runs these alone, -m "" runs all.
set -euo pipefail
cd "$(dirname "$0")"
source environment.sh requirements-dev.txt
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy
"$PYTHON" -m pytest -n 2 --dist worksteal "$@"
