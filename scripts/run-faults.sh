#!/bin/sh
# The fault programme at full length: every lane of tests/fault, clients in loops against publications and the models of
# tests/consistency, a thousand runs of the canary, then what the tests notice (scripts/mutate.py). Each
# lane's counts are summed into bench/FAULTS.json; `make docs` copies them into docs/PROMISES.md. Arguments go to pytest.
# Takes an hour and a half on two cores. Each lane ends at its bound, four and a quarter hours in all, and then counts as
# failed: it did not get through.
set -u
cd "$(dirname "$0")/.."
workers=${TEST_WORKERS:-$(nproc)}
mkdir -p build
report=$PWD/build/faults.jsonl
: >"$report"
export FAULT_LANE=full FAULT_REPORT="$report"
failed=0

lane() { # BOUND_S COMMAND…
  bound_s=$1
  shift
  timeout --signal=INT --kill-after=60 "$bound_s" .venv/bin/python "$@" || failed=1
}

# Those marked `serial` fill volumes and cut power; the others share the cores.
lane 3600 -m pytest tests/fault -m serial "$@"
lane 5400 -m pytest tests/fault -m "not serial" -n "$workers" --max-worker-restart 0 "$@"
# Alone: these want their rates.
lane 900 -m pytest tests/consistency/test_loops.py tests/consistency/test_flood.py "$@"
lane 1800 -m pytest tests/consistency tests/node/test_canary.py -n "$workers" --max-worker-restart 0 \
  --deselect tests/consistency/test_loops.py --deselect tests/consistency/test_flood.py "$@"
lane 3600 scripts/mutate.py --jobs "$workers"
.venv/bin/python scripts/fault_report.py "$report"
exit "$failed"
