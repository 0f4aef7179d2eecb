# `make` alone lists the commands. Everything runs in .venv, made from requirements.lock.

VENV := .venv
BIN := $(VENV)/bin
# CUDA=1 and CUDA=0 choose the build of torch; without either, the one that is installed stays.
VARIANT := $(if $(CUDA),$(if $(filter 1,$(CUDA)),cuda,cpu),$(if $(wildcard $(VENV)/.installed-cuda),cuda,cpu))
OTHER_STAMP := $(VENV)/.installed-$(if $(filter cpu,$(VARIANT)),cuda,cpu)
STAMP := $(VENV)/.installed-$(VARIANT)
CPU_INDEX := https://download.pytorch.org/whl/cpu
PYTEST_WORKERS ?= 2

# One numerical thread per process: two processes with default thread pools are many times slower than with one each.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test check slow bench openapi clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## create the environment from the lock file (CUDA=1 for the CUDA build of torch)
	@:

$(STAMP): requirements.lock pyproject.toml
	@python=$$(command -v python3.11 || command -v python3 || true); \
	if [ -z "$$python" ] || ! "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
		echo "error: Python 3.11 is missing (Debian: apt-get install python3.11 python3-venv)" >&2; exit 1; fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "error: the Python module venv is missing (Debian: apt-get install python3-venv)" >&2; exit 1; fi; \
	[ -x $(BIN)/pip ] || { echo "== 1/4 environment in $(VENV)"; "$$python" -m venv $(VENV); }
	@echo "== 2/4 torch, $(VARIANT) build"
	@[ ! -e $(OTHER_STAMP) ] || $(BIN)/python -m pip uninstall --yes torch
ifeq ($(VARIANT),cuda)
	@$(BIN)/python -m pip install --retries 1 "$$(grep '^torch==' requirements.lock)"
else
	@$(BIN)/python -m pip install --retries 1 --no-deps --extra-index-url $(CPU_INDEX) "$$(grep '^torch==' requirements.lock)"
endif
	@echo "== 3/4 everything else, from requirements.lock"
	@$(BIN)/python -m pip install -r requirements.lock
	@echo "== 4/4 this project"
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check
	@rm -f $(OTHER_STAMP); touch $@

demo: setup ## play a market and run RFQs through the API, end to end (DEMO_DATA=path chooses the recording)
	@$(BIN)/rfq demo

serve: setup ## start the service and keep it up
	@$(BIN)/rfq serve

test: check ## everything `check` does, then all tests that are not slow
	$(BIN)/python -m pytest -m "not slow" -n $(PYTEST_WORKERS)

check: setup ## lint, format, strict types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

slow: setup ## the slow tests
	@$(BIN)/python -m pytest -m slow; status=$$?; \
	if [ $$status -eq 5 ]; then echo "slow: no test is marked slow, so nothing was run"; exit 0; fi; exit $$status

bench: setup ## measure, print a table, write build/bench.json
	@$(BIN)/python -m tests.benchmarks

openapi: setup ## write openapi/openapi.json from the code
	@$(BIN)/rfq openapi

clean: ## remove caches and build results; keeps the environment and the data
	@rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
