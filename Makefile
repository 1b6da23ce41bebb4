# make run: the daily ingest.   make test: every check.   make help: the rest.
PYTHON ?= python3
BIN := .venv/bin
RUNS ?= 7

.DEFAULT_GOAL := help
.PHONY: help run install test format bench bench-ingest bench-lambda bench-spectra lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: .venv/run.stamp ## run the daily ingest (a stand-in of TMDB where there is no key)
	@$(BIN)/python handler.py $(if $(EVENT),"$(EVENT)")

install: .venv/cli.stamp ## install the command: .venv/bin/ingest

test: .venv/dev.stamp ## formatter, linter, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto

format: .venv/dev.stamp ## format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-ingest: .venv/dev.stamp ## time and memory of the daily run beside the plain way
	@$(BIN)/python bench/ingest.py --runs $(RUNS)

bench-lambda: .venv/dev.stamp .tools/build.stamp ## start, first run and memory of the function, beside others
	@PYTHONPATH=tests $(BIN)/python bench/lambda.py --runs $(RUNS)

bench-spectra: .venv/dev.stamp ## uploads to a BlackPearl beside a plain loop of PUTs
	@$(BIN)/python bench/spectra.py --runs $(RUNS)

LOCK = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade \
    --generate-hashes --quiet --custom-compile-command "make lock"

bench: .venv/dev.stamp ## transfers beside s5cmd, rclone, aws-cli and boto3; on an idle machine
	@$(BIN)/python bench/transfer.py --runs $(RUNS)

lock: .venv/dev.stamp ## pin the requirements anew, with hashes, from pyproject.toml
	$(LOCK) -o requirements.txt
	$(LOCK) --extra cli -o requirements-cli.txt
	$(LOCK) --extra cli --group dev -o requirements-dev.txt

clean: ## remove what the targets above made, but not the lake
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info bench/.peers

# A stamp is newer than its requirements once they are installed. The development tools come on
# top of the function's own requirements, in the same environment.
.venv/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "needs Python 3.11 or newer: make PYTHON=python3.x ...")'
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/cli.stamp: requirements-cli.txt pyproject.toml .venv/run.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-cli.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	    --config-settings editable_mode=compat -e .
	@touch $@

.venv/dev.stamp: requirements-dev.txt .venv/cli.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

include package.mk
