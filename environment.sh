# Sourced by the run*.sh scripts:  source environment.sh REQUIREMENTS_FILE
# Sets PYTHON to an interpreter that meets the requirements: $REID_PYTHON, else the python3 on the PATH if it meets
# them, else .venv, made and filled when needed. Nothing is installed twice.

requirements_met() {  # requirements_met PYTHON FILE
  "$1" - "$2" <<'CHECK' 2>/dev/null
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
try:
    from packaging.requirements import Requirement
except ImportError:
    from pip._vendor.packaging.requirements import Requirement

def met(path):
    for line in Path(path).read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r"):
            met(Path(path).parent / line[2:].strip())
        elif line:
            wanted = Requirement(line)
            if not wanted.specifier.contains(version(wanted.name), prereleases=True):
                sys.exit(1)

if sys.version_info < (3, 11):
    sys.exit(1)
try:
    met(sys.argv[1])
except PackageNotFoundError:
    sys.exit(1)
CHECK
}

find_python() {  # the newest Python >= 3.11 on the PATH
  local name
  for name in python3.12 python3.11 python3; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$name"; return; fi
  done
  echo "error: no Python 3.11 or newer on the PATH; install one, or name one: REID_PYTHON=/path/to/python bash $0" >&2
  return 2
}

install_requirements() {  # install_requirements FILE: make or complete .venv
  local base
  base=$(find_python) || exit 2
  echo "installing the packages of $1 into .venv (once, a few minutes)" >&2
  if command -v uv >/dev/null; then
    [ -x .venv/bin/python ] || uv venv --quiet --python "$base" .venv
    uv pip install --quiet --python .venv/bin/python -r "$1"
  else
    [ -x .venv/bin/python ] || "$base" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$1"
  fi
}

if [ -n "${REID_PYTHON:-}" ]; then
  PYTHON=$REID_PYTHON
  requirements_met "$PYTHON" "$1" || { echo "error: REID_PYTHON=$PYTHON does not meet $1; run: $PYTHON -m pip install -r $1" >&2; exit 2; }
elif requirements_met python3 "$1"; then
  PYTHON=python3
else
  PYTHON=.venv/bin/python
  requirements_met "$PYTHON" "$1" || install_requirements "$1" || true
  requirements_met "$PYTHON" "$1" || { echo "error: $1 could not be installed into .venv; see above, then run the same command again" >&2; exit 2; }
fi
