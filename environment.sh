# Sourced by the run*.sh scripts:  source environment.sh REQUIREMENTS_FILE [NEEDED_PATH...]
# Refuses in one line if one of the needed paths is missing. Then sets PYTHON to an interpreter that meets the
# requirements: $REID_PYTHON, else the python3 on the PATH if it meets them, else .venv, made and filled when needed.
# Nothing is installed twice.

fail() { echo "error: $1" >&2; exit 2; }

requirements_met() {  # requirements_met PYTHON FILE
  "$1" - "$2" 2>/dev/null <<'CHECK'
import sys
from importlib.metadata import version
from pathlib import Path
from packaging.requirements import Requirement  # comes with matplotlib

def met(path):
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    files = [path.parent / line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    packages = [Requirement(line) for line in lines if line and not line.startswith("-r ")]
    return all(map(met, files)) and all(p.specifier.contains(version(p.name), prereleases=True) for p in packages)

sys.exit(sys.version_info < (3, 11) or not met(Path(sys.argv[1])))
CHECK
}

install_requirements() {  # install_requirements FILE: make or complete .venv
  local base
  for base in python3.12 python3.11 python3 ""; do
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
  done
  [ -n "$base" ] || fail "no Python 3.11 or newer on the PATH; install one, or name one: REID_PYTHON=/path/to/python bash $0"
  echo "installing the packages of $1 into .venv (once, a few minutes)" >&2
  if command -v uv >/dev/null; then
    [ -x .venv/bin/python ] || uv venv --quiet --python "$base" .venv
    uv pip install --quiet --python .venv/bin/python -r "$1"
  else
    [ -x .venv/bin/python ] || "$base" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$1"
  fi
}

for NEEDED in "${@:2}"; do
  [ -e "$NEEDED" ] || fail "no $NEEDED; the first lines of $(basename "$0") say where it comes from"
done
if [ -n "${REID_PYTHON:-}" ]; then
  PYTHON=$REID_PYTHON
  requirements_met "$PYTHON" "$1" || fail "REID_PYTHON=$PYTHON does not meet $1; run: $PYTHON -m pip install -r $1"
elif requirements_met python3 "$1"; then
  PYTHON=python3
else
  PYTHON=.venv/bin/python
  requirements_met "$PYTHON" "$1" || install_requirements "$1" || true
  requirements_met "$PYTHON" "$1" || fail "$1 could not be installed into .venv; see above, then run the same command again"
fi
