# Everything runs in the project's own .venv, made on first use. `make` lists the targets.

PYTHON ?= python3
WORKERS ?= 2
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
UV := $(BIN)/uv
STAMPS := $(VENV)/.stamps
PEERS := benchmarks/work/peers-venv
PINS := pyproject.toml constraints.txt
# Compiling once (20 s) halves the import of torch and timm in every process that follows.
INSTALL := $(UV) pip install --compile-bytecode --python $(PY) --constraint constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all coverage check lint types imports format docs bench bench-peers pins clean

help: ## list the targets
	@echo "Usage: make TARGET [PYTHON=python3.12] [PYTEST_ARGS='-k manifest']"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

demo: $(STAMPS)/default ## train on real handwritten digits and print the path of a report
	@$(BIN)/sightline demo

test: $(STAMPS)/test ## run the tests (slow ones left out)
	@$(PY) -m pytest -n $(WORKERS) $(PYTEST_ARGS)

test-all: $(STAMPS)/test ## run every test, the slow ones too
	@$(PY) -m pytest -n $(WORKERS) -m "slow or not slow" $(PYTEST_ARGS)

coverage: $(STAMPS)/test ## run the tests and print which lines they never reach
	@$(PY) -m pytest -n $(WORKERS) --cov --cov-report=term $(PYTEST_ARGS)

check: lint types imports test ## lint, types, import contracts, tests

lint: $(STAMPS)/dev ## ruff: rules and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(STAMPS)/dev ## mypy --strict over the package
	@$(PY) -m mypy

imports: $(STAMPS)/dev ## the layer table, held by import-linter
	@$(BIN)/lint-imports --no-cache

format: $(STAMPS)/dev ## let ruff repair what it can
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

docs: $(STAMPS)/docs ## build the pages into site/
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet --site-dir site
	@echo "Pages: site/index.html"

bench: $(STAMPS)/bench $(PEERS)/.installed ## run every benchmark; results in benchmarks/results/
	@$(PY) benchmarks/run.py

bench-peers: $(PEERS)/.installed ## install what the benchmarks compare with, in its own environment

pins: $(UV) ## solve constraints.txt anew for Python 3.11 and up
	@echo "# Exact versions for every extra and for the benchmarks' peers, Python 3.11 and up; \`make pins\` renews them." > constraints.new
	@printf 'uv\nhatchling\n' | $(UV) pip compile --quiet --universal --python-version 3.11 --all-extras --no-header \
	  --no-annotate --upgrade pyproject.toml benchmarks/peers.txt - >> constraints.new
	@mv constraints.new constraints.txt

clean: ## remove .venv, caches and built files; runs and data stay
	rm -rf $(VENV) $(PEERS) site build dist htmlcov .coverage .coverage.* \
	  .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments ---------------------------------------------------------------------------

$(UV):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Sightline needs Python 3.11 or newer; '$(PYTHON)' was not found. Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Sightline needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Could not make a virtual environment. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

$(STAMPS)/default: $(UV) $(PINS)
	@echo "Installing Sightline and what it needs (about 4 GB on the first machine-wide download)"
	@$(INSTALL) --editable .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test $(STAMPS)/dev $(STAMPS)/docs $(STAMPS)/bench: $(UV) $(PINS)
	@echo "Installing Sightline with the '$(@F)' extra"
	@$(INSTALL) --editable '.[$(@F)]'
	@mkdir -p $(STAMPS) && touch $@

$(PEERS)/.installed: $(UV) constraints.txt benchmarks/peers.txt
	@echo "Installing the benchmarks' peers in $(PEERS)"
	@$(UV) venv --quiet --allow-existing --python $(PY) $(PEERS)
	@$(UV) pip install --python $(PEERS)/bin/python --constraint constraints.txt --requirement benchmarks/peers.txt
	@$(UV) pip install --python $(PEERS)/bin/python --no-deps fastreid==1.4.0
	@touch $@
