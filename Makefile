# `make demo` and `make test` work in a fresh clone: all they need is Python 3.11 or newer (PYTHON=...) and pip.

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ringtest-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# One thread a worker, or the workers' threads take turns on the same cores. loadfile: a file's fixtures are built once,
# in the order of tests/conftest.py: xdist's own begins with files of many tests and may end with one long file.
# RINGTEST_ORACLES: other people's implementations are here, so a test that compares with one may not be skipped.
PYTEST := RINGTEST_ORACLES=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all lint validity format clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

venv: $(STAMP) ## the environment in .venv, made once and again when its description changes

$(STAMP): pyproject.toml constraints.txt oracles.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("ringtest needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try make PYTHON=python3.12")'
	@echo "Installing into $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip
	@# torch by itself, first and pinned: a resolver that looks at other versions fetches gigabytes
	@$(PIP) install -c constraints.txt torch
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@$(PIP) install -c constraints.txt --no-deps -r oracles.txt
	@touch $@

demo: venv ## train, audit and report on scikit-learn's digits
	@$(BIN)/ringtest demo

lint: venv ## ruff and mypy
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@echo "ruff and mypy: clean"

test: lint ## lint, then the tests that are not slow
	@$(PYTEST) -m 'not slow'

test-all: lint ## lint, then every test
	@$(PYTEST) -m 'slow or not slow'

validity: venv ## audit the audit: specimens, verdicts, tables and figures (an hour the first time, half an hour after)
	@$(PIP) install -c constraints.txt -e '.[validity]'
	@$(BIN)/python -m benchmarks.validity

format: venv ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

clean: ## remove the environment, the caches and what was built
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
