#!/bin/sh
# Runs every test: first those marked `serial`, alone, since they measure time and memory; then the others, one worker per core.
# Both runs happen whatever the first one says; the status is non-zero if either failed. Arguments go to both.
set -u
cd "$(dirname "$0")/.."
workers=${TEST_WORKERS:-$(nproc)}

.venv/bin/python -m pytest -m serial "$@"
serial=$?
# 5 = nothing to run: the arguments chose only tests of the other kind.
[ "$serial" -eq 5 ] && serial=0

.venv/bin/python -m pytest -m "not serial" -n "$workers" --dist loadgroup --max-worker-restart 0 "$@"
parallel=$?
[ "$parallel" -eq 5 ] && [ $# -gt 0 ] && parallel=0

[ "$serial" -eq 0 ] && [ "$parallel" -eq 0 ]
