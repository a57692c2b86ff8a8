# The targets of everyday work; `make help` lists them. Only Python 3.11 or newer, git, gcc and make need to be there.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# The stamps remember what is complete; the installations are redone when the packaging changes, or a script, which is copied.
MADE := $(VENV)/.stamp-venv
READY := $(VENV)/.stamp-test
READY_DEV := $(VENV)/.stamp-dev

.DEFAULT_GOAL := help
.PHONY: help setup demo test long lint types bench hostile clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1	\2/p' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv and install gpyro there with what its tests need

demo: $(READY) ## a name server, a server, a client and some load, to look at
	@$(BIN)/python examples/demo.py

# Tests wait half of their time, for other processes or for time to pass: three keep two processors busy.
test: $(READY) ## run the tests, three at a time
	@$(BIN)/python -m pytest --numprocesses 3 --dist worksteal

long: $(READY) ## run the tests of full counts, which make test leaves out
	@$(BIN)/python -m pytest -m long

lint: $(READY_DEV) ## check style and layout
	@$(BIN)/ruff check . scripts/gpyro-*
	@$(BIN)/ruff format --check . scripts/gpyro-*

types: $(READY_DEV) ## check the types
	@$(BIN)/mypy

bench: $(READY) ## measure speed and memory beside a bare gevent echo server
	@$(BIN)/python benchmarks/core.py

hostile: $(READY) ## throw damaged bytes and bad peers at it, a hundredth of the full counts
	@$(BIN)/python benchmarks/hostile.py --scale 0.01 --rounds 2

clean: ## remove .venv and everything that was generated
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gpyro needs Python 3.11 or newer: make PYTHON=...")'
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(READY): setup.cfg pyproject.toml $(wildcard scripts/gpyro-*) | $(MADE)
	$(PIP) install -e '.[test]'
	@touch $@

$(READY_DEV): $(READY)
	$(PIP) install -e '.[dev]'
	@touch $@
