# Needs Python >= 3.11 with venv, git and make; everything else is installed into .venv and .interop.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# Tests start many processes, each of which would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo up test lint format types imports check interop contract status freeze bench chaos clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the virtual environment

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY) ## Redact a spammer's 1,000 messages on background workers, and prove it (ARGS="--help")
	$(BIN)/synapse-lite demo $(ARGS)

up: $(READY) ## Run a server here: main process, two workers, PostgreSQL (ARGS="--port 8080")
	$(BIN)/synapse-lite up $(ARGS)

test: $(READY) ## Run the tests, one process a core (ARGS="-k name")
	$(BIN)/python -m pytest -n logical --dist worksteal $(ARGS)

lint: $(READY) ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## Check types
	$(BIN)/mypy

imports: $(READY) ## Check who imports whom
	$(BIN)/lint-imports

check: lint types imports test ## Style, types, imports, tests: what every commit must pass

interop: $(READY) ## Test with real clients, browsers and Synapse; what they need goes into .interop/
	$(BIN)/python -m pytest tests/interop $(ARGS)

bench: $(READY) ## Measure (ARGS="--help")
	$(BIN)/python -m benchmarks $(ARGS)

contract: $(READY) ## Write down in docs/contract.md which test calls which operation
	$(BIN)/python -m tests.contract -n logical

status: $(READY) ## Write down in README.md and docs/status.md which operations have a route
	$(BIN)/python -m tests.status

freeze: ## Migrations in a release: from now on a database may have them, and they change no more
	cd synapse_lite/storage/schema && sha256sum *.sql > frozen.sha256

MINUTES ?= 30
chaos: $(READY) ## Strike two purges and every other task 50 times; kill, freeze, cut off workers for MINUTES=30; count what they did
	$(BIN)/python -m tests.chaos --purge 50
	$(BIN)/python -m tests.chaos --kills 50
	$(BIN)/python -m tests.chaos --minutes $(MINUTES)

clean: ## Remove the virtual environment and caches, never data
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .interop
