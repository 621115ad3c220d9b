# Everything a contributor types. `make` alone lists it; all settings are in pyproject.toml.
# Needs Python 3.11 or newer with pip (`make PYTHON=/path/to/python …` names one); the servers of the tests come as wheels.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export PYTHON
VENV := .venv
BIN := $(VENV)/bin
DEMO := .demo
WORKERS ?= auto

# mkdocs-material advertises its successor in the middle of the output otherwise.
export NO_MKDOCS_2_WARNING := 1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/.installed ## create .venv with everything the tests and linters need

$(VENV)/.installed: pyproject.toml
	@.ci/environment $(VENV) dev
	@touch $@

.PHONY: demo
demo: $(DEMO)/venv/.installed ## plan, draw and apply examples/shop on an embedded SQLite database
	@DEMO='$(CURDIR)/$(DEMO)' bash examples/shop/demo.sh

# Only what a user gets from a plain `pip install migrate-graph`: the demo proves that this is enough.
$(DEMO)/venv/.installed: pyproject.toml
	@mkdir -p $(DEMO)
	@.ci/environment $(DEMO)/venv
	@touch $@

.PHONY: format
format: install ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: lint
lint: install ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: install ## mypy, strict
	$(BIN)/mypy

.PHONY: house
house: install ## which room may import which
	$(BIN)/lint-imports

.PHONY: fast
fast: install ## the tests that start no server and kill no process
	$(BIN)/pytest -n $(WORKERS) -m 'not postgres and not redis and not faults and not browser'

.PHONY: test
test: install ## the whole suite, on real PostgreSQL, Redis and SQLite
	$(BIN)/pytest -n $(WORKERS)

.PHONY: core
core: install ## every branch of the core is taken by its own tests
	$(BIN)/pytest -q -n $(WORKERS) tests/unit/test_core_*.py --cov=migrate_graph.core --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

.PHONY: faults
faults: install ## kills, signals and server faults, with all seeds, and once more with --jobs 4
	MIGRATE_GRAPH_FAULT_SEEDS=200 $(BIN)/pytest tests/faults
	MIGRATE_GRAPH_FAULT_JOBS=4 $(BIN)/pytest tests/faults -m postgres

.PHONY: explore
explore: install ## the laws of graphs, plans, states and views on thousands of new examples
	$(BIN)/pytest -n $(WORKERS) tests/properties --hypothesis-profile=explore

.PHONY: mutants
mutants: install ## break the safety lines one at a time: a test must notice each
	$(BIN)/python tests/mutants.py

.PHONY: bench
bench: install ## how fast, how it grows, and how fast the peers are (writes docs/performance.md)
	$(BIN)/python tests/bench/side_by_side.py
	$(BIN)/python tests/bench/floors.py
	$(BIN)/python tests/bench/views.py
	$(BIN)/python tests/bench/jobs.py
	$(BIN)/pytest tests/bench

.PHONY: docs
docs: install ## write the generated pages and pictures, then build the site, strictly
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

.PHONY: audit
audit: ## known advisories about what we depend on: the lowest versions that we allow, and those of today
	@test -x .audit/bin/pip-audit || ("$${PYTHON:-python3}" -m venv .audit && .audit/bin/pip install --quiet pip-audit)
	@.audit/bin/python .ci/audit.py

.PHONY: check
check: lint types house test core docs ## what CI runs

.PHONY: clean
clean: ## remove everything that was built
	rm -rf $(VENV) .audit $(DEMO) .bench build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks htmlcov .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
