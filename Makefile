# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
STAMPS := $(VENV)/.palate
# pytest -n: two workers, one thread each, so that they do not fight for cores
WORKERS ?= 2

.PHONY: help demo test test-slow check format docs benchmarks clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(STAMPS)/run ## the main job on the shipped data: compare, choose, calibrate, report, ready to serve
	$(BIN)/palate demo

test: $(STAMPS)/test ## the quick tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n $(WORKERS) -q

test-slow: $(STAMPS)/test ## the long tests: kills, large files, real models
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n $(WORKERS) -q

check: $(STAMPS)/test $(STAMPS)/check ## format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMPS)/check ## rewrite files in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMPS)/docs ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove what the targets made
	rm -rf $(VENV) site palate-demo .pytest_cache .mypy_cache .ruff_cache

$(STAMPS)/venv:
	@echo "Setting up $(VENV) (once; a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit("Palate needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS)
# torch first and by its exact version: later steps find it there and bring no other build
	@$(PIP) install "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(STAMPS)/run: $(STAMPS)/venv pyproject.toml constraints.txt
	@$(PIP) install --constraint constraints.txt --editable ".[serve]"
	@touch $@

$(STAMPS)/test: $(STAMPS)/venv pyproject.toml constraints.txt
	@$(PIP) install --constraint constraints.txt --editable ".[test]"
	@touch $@ $(STAMPS)/run

$(STAMPS)/check: $(STAMPS)/venv pyproject.toml constraints.txt
	@$(PIP) install --constraint constraints.txt --editable ".[check]"
	@touch $@

$(STAMPS)/docs: $(STAMPS)/venv pyproject.toml constraints.txt
	@$(PIP) install --constraint constraints.txt --editable ".[docs]"
	@touch $@
