# Every target works on a fresh clone: the first one that needs it installs into .venv and nowhere else.
# `make help` lists them.

PYTHON ?=# the interpreter for .venv; by default the first of 3.11 or newer that is found
BIN := .venv/bin
SETUP := .venv/.setup
PACKAGES := tlog runtime gossip logserver witness monitor sameview
FUZZ_SECONDS ?= 60
WORKERS ?= auto# processes that test, at most four; 0: none but the first, which a debugger can stop

.PHONY: help setup heavy demo test lint contracts format bench fuzz lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "make %-10s %s\n", $$1, $$2 }'

setup: $(SETUP) ## install into .venv; instant when nothing changed

$(SETUP): requirements/runtime.txt requirements/dev.txt pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" sh scripts/setup.sh

heavy: .venv/.heavy ## also install atheris, schemathesis, playwright and Node.js, which `make test` does without

.venv/.heavy: $(SETUP) requirements/heavy.txt
	@if uv --version >/dev/null 2>&1 && uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/heavy.txt; \
	then :; else $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/heavy.txt; fi
	@touch $@

demo: setup ## run a federation here, let the log lie, and verify the evidence
	@$(BIN)/sameview demo $(ARGS)

test: setup ## run the tests; ARGS go to pytest
	@$(BIN)/pytest --numprocesses=$(WORKERS) --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

lint: setup ## what must hold of the source: format, ruff, mypy, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## rewrite the source in the one format
	@$(BIN)/ruff check --select I --fix --quiet .
	@$(BIN)/ruff format .

bench: setup ## run every bench; ARGS=--short for a quick round
	@$(BIN)/python -m bench.run $(ARGS)

fuzz: setup ## fuzz every target for FUZZ_SECONDS each
	@$(BIN)/python -m fuzz.run -max_total_time=$(FUZZ_SECONDS) $(ARGS)

lock: setup ## write the requirement locks anew, with the newest versions that fit
	@sh scripts/lock.sh

clean: ## remove everything that was made here
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
