#!/usr/bin/env bash
# The whole test run: environment, linter, types, tests.   bash runTests.sh [pytest options]
# Tests run in two processes; -n 0 runs them in one.
# Tests that take minutes are left out: bash runTests.sh -m slow runs these alone, -m "" runs all.
# bash runTests.sh --modes [pytest options] runs the tests of the commands as other machines would: in both precisions
# (bfloat16 is emulated where the processor lacks it), on one and two threads, with AVX2 and with the best instructions.
# bash runTests.sh --browser [pytest options] opens pages in headless Chromium, which it installs (as root, on Debian) when
# there is none; with --approve it takes their looks and hashes as the approved ones.
set -euo pipefail
cd "$(dirname "$0")"

install_chromium() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "installing chromium (once, a minute or two)" >&2
  apt-get -qq update >&2 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y chromium >&2
}

if [ "${1:-}" = --browser ]; then
  source environment.sh requirements-browser.txt
  command -v chromium >/dev/null || install_chromium ||
    fail "no chromium, and it cannot be installed here; as root on Debian: apt-get update && apt-get install -y chromium"
  exec "$PYTHON" -m pytest -n 2 --dist loadfile -m browser tests/browser "${@:2}"
fi
source environment.sh requirements-dev.txt

AVX2="ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2"

in_mode() {  # in_mode PRECISION THREADS "VARIABLE=VALUE .." [pytest options]
  local settings="REID_TEST_PRECISION=$1 REID_TEST_THREADS=$2 $3"
  echo "mode: $settings"
  # shellcheck disable=SC2086  # one word per setting
  env $settings "$PYTHON" -m pytest -n $((2 / $2)) --dist worksteal tests/test_modes.py tests/scripts "${@:4}"
}

if [ "${1:-}" = --modes ]; then
  failed=0
  in_mode bf16 1 "" "${@:2}" || failed=1
  in_mode bf16 2 "$AVX2" "${@:2}" || failed=1
  in_mode fp32 1 "$AVX2" "${@:2}" || failed=1
  in_mode fp32 2 "" "${@:2}" || failed=1
  exit $failed
fi
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy
"$PYTHON" -m pytest -n 2 --dist worksteal "$@"
