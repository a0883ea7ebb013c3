# `make run` and `make test` are all that a newcomer needs; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run install fmt lint types layers test-fast test claims check soak bench clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

run: .venv/run  ## train the ViT on the embedded digits (ARGS="--steps 200" for more)
	$(BIN)/python -m experiments.vit_cifar --data digits $(ARGS)

install: .venv/all  ## make .venv with everything: to run, to test and to compare

.venv/bin/python:
	@echo 'making .venv; a few minutes where nothing is cached'
	@$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python setup.cfg
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@$(BIN)/python -m jaxlab.core.native > /dev/null || true
	@touch $@

.venv/all: .venv/bin/python setup.cfg
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,peers]'
	@$(BIN)/python -m jaxlab.core.native > /dev/null || true
	@touch $@ .venv/run

fmt: .venv/all  ## format the code and mend what can be mended
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format .

lint: .venv/all  ## format and lint rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/all  ## static types
	$(BIN)/mypy

layers: .venv/all  ## imports only go down
	$(BIN)/lint-imports --no-cache

# A file of tests shares its programs: it stays with one of two workers. LLVM's optimiser is
# a third of compiling; it could fuse or reorder sums, so bits are tested with it, and
# LLVM=3 tests everything with it. Two runs: either may have no test that ARGS choose (5).
LLVM ?= 0
PYTEST := $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder
QUICKLY := XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=$(LLVM)" $(PYTEST)
BITS := tests/trees/grow tests/trees/boost tests/trees/objectives/test_objective.py

test-fast: .venv/all  ## the tests that take seconds
	$(QUICKLY) -m "not slow and not claim and not soak" $(ARGS)

test: .venv/all  ## all tests but the claims
	$(QUICKLY) $(BITS:%=--ignore %) $(ARGS) || [ $$? = 5 ]
	$(PYTEST) $(BITS) $(ARGS) || [ $$? = 5 ]

soak: .venv/all  ## kill runs and damage files by the thousand, a quarter of an hour
	JAXLAB_DAMAGES=1200 $(QUICKLY) -m "soak or fuzz" $(ARGS)

claims: .venv/all  ## train what the README says, before a release
	$(PYTEST) -m claim $(ARGS)

check: lint types layers test  ## what has to pass before a change lands

bench: .venv/all  ## measure against the peers; tables and JSON in benchmarks/results
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## remove what the tools left, but no runs
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache *.egg-info
