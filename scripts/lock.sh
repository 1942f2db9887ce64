#!/bin/sh
# Writes the lock files: every package the project may install, at one version, with the digests of its files.
#   requirements/client.txt   `entrepot push` alone
#   packaging/client/requirements.txt   the same in its own distribution
#   requirements/server.txt   the client and the server
#   requirements/build.txt    the build backend: what `make install` needs on top of the server
#   requirements/dev.txt      all of these and the tests' tools: what `make setup` installs
# An existing lock is kept where it still fits; `scripts/lock.sh --upgrade` takes the newest versions.
# No index address is written: whoever installs decides where packages come from, the digests hold anyway.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}

compile() {
    output=$1
    shift
    "$python" -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
        --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
        --annotation-style line --resolver backtracking --output-file "$output" "$@"
}

group_file=requirements/dev.in
build_file=requirements/build.in
"$python" - "$group_file" "$build_file" <<'PYTHON'
import pathlib, sys, tomllib

project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())
for path, lines in zip(sys.argv[1:], (project["dependency-groups"]["dev"], project["build-system"]["requires"])):
    pathlib.Path(path).write_text("".join(f"{line}\n" for line in lines))
PYTHON
trap 'rm -f "$group_file" "$build_file"' EXIT

# dev first: the smaller locks take their versions from it, so that the three never disagree.
compile requirements/dev.txt "$@" --extra server pyproject.toml "$group_file"
compile requirements/server.txt --constraint requirements/dev.txt --extra server pyproject.toml
compile requirements/client.txt --constraint requirements/dev.txt pyproject.toml
compile packaging/client/requirements.txt --constraint requirements/dev.txt packaging/client/pyproject.toml
compile requirements/build.txt --constraint requirements/dev.txt "$build_file"

if grep -nE '://|--(index|extra-index|find|trusted)' requirements/*.txt packaging/client/requirements.txt; then
    echo "lock.sh: a lock file names an address; see the lines above" >&2
    exit 1
fi
