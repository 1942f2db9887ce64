# Everything a developer types. `make` alone prints the list.
DATA       ?= ./data
LISTEN     ?= 127.0.0.1:8420
PUBLIC_URL ?= http://$(LISTEN)
PYTEST_ARGS ?=
BENCH_ARGS ?=
MUTATE_ARGS ?=
SOAK_S     ?= 600
SUITES     ?= bullseye bookworm trixie forky sid

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run install upgrade test check format docs bench fault suites soak client mutate lock clean

help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with every locked package (again: does nothing)

$(STAMP): requirements/dev.txt pyproject.toml scripts/setup.sh
	@scripts/setup.sh $(VENV)
	@touch $@

run: setup ## Start a server on ./data; DATA=, LISTEN= and PUBLIC_URL= change what it uses
	$(BIN)/entrepot serve --data $(DATA) --listen $(LISTEN) --public-url $(PUBLIC_URL)

install: ## As root: make it a systemd service; DATA=, LISTEN=, PUBLIC_URL= and PREFIX= change what it uses
	@scripts/install.sh install

upgrade: ## As root: replace what `make install` made by this version; reads go on meanwhile
	@scripts/install.sh upgrade

test: setup ## Run every test, real package managers included; installs what they need (PYTEST_ARGS= adds options)
	@scripts/install-test-packages.sh
	@scripts/run-tests.sh $(PYTEST_ARGS)

check: setup ## Lint, formatting, types and the floors of ARCHITECTURE.md
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Sort imports and format the sources
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

docs: setup ## Write the generated parts of the pages again: settings, errors, routes, metrics, figures
	$(BIN)/python scripts/generate-docs.py

bench: setup ## Measure against the bars of docs/PROMISES.md (BENCH_ARGS= picks some)
	@scripts/install-test-packages.sh
	$(BIN)/python -m bench $(BENCH_ARGS)

fault: setup ## The fault programme at full length, what its tests notice, and bench/FAULTS.json (hours; never above five)
	@scripts/install-test-packages.sh
	@scripts/run-faults.sh $(PYTEST_ARGS)

mutate: setup ## Take one guard of the commit path away at a time; a test must notice each (MUTATE_ARGS= picks some)
	$(BIN)/python scripts/mutate.py $(MUTATE_ARGS)

suites: setup ## Set up a fresh Debian of every suite with one line (fetches each from the mirror; SUITES= picks some)
	@scripts/install-test-packages.sh
	SUITES="$(SUITES)" $(BIN)/pytest tests/clients/test_install.py tests/packaging/test_client.py --timeout 900 $(PYTEST_ARGS)

soak: setup ## The leak soak alone, for SOAK_S seconds (ten minutes): uploads that end in every way, and nothing left
	SOAK_S=$(SOAK_S) $(BIN)/pytest tests/fault/test_soak.py -s $(PYTEST_ARGS)

client: setup ## Build the client's own distribution into dist/ (Python 3.9, no server part)
	$(BIN)/python -m build --wheel --no-isolation --outdir dist packaging/client

lock: setup ## Write the lock files again from pyproject.toml
	scripts/lock.sh

clean: ## Remove what make built; never the data folder
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
