# Three commands matter: `make demo`, `make test`, `make check`. Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.tickless-ready
WORKERS ?= 3

.PHONY: help setup demo dev test test-fast check fuzz format bench clean lock

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## create .venv with everything pinned

$(STAMP): requirements-dev.txt requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## fire a routine on the real stack; KEEP=1 leaves the stack running
	@$(BIN)/python -m worker.demo $(if $(KEEP),--keep)

dev: $(STAMP)  ## run the whole stack until Ctrl-C
	@$(BIN)/tickless dev

# Twice, because the workers of a process stand still while it runs what is not asynchronous; plain
# tracebacks, because pytest fails at others while threads of the SDK load code (Python 3.11).
test: $(STAMP)  ## the whole suite
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests/unit tests/replay
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --tb=native tests/chaos tests/workflows tests/integration

test-fast: $(STAMP)  ## only the tests without servers
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests/unit

check: $(STAMP)  ## lint, types, architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/python -m pytest -q tests/unit/test_architecture.py

fuzz: $(STAMP)  ## many more requests at the HTTP API than the tests make
	@TICKLESS_FUZZ_CASES=20000 TICKLESS_FUZZ_FLOWS=500 $(BIN)/python -m pytest \
		-q tests/integration/test_gateway_openapi.py --timeout 7200

format: $(STAMP)  ## format and fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP)  ## speed and memory, as ratios to a raw Temporal floor
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m benchmarks

lock:  ## resolve the newest versions into the requirements files
	@rm -rf .lock && $(PYTHON) -m venv .lock
	@.lock/bin/pip install --quiet ".[dev-stack,local-model,postgres]"
	@{ echo "# What runs. Made by: make lock"; .lock/bin/pip freeze --exclude tickless; } > requirements.txt
	@.lock/bin/pip install --quiet ".[dev-stack,local-model,postgres,dev]"
	@{ echo "# What runs and what checks it. Made by: make lock"; .lock/bin/pip freeze --exclude tickless; } > requirements-dev.txt
	@rm -rf .lock

clean:  ## remove the environment, caches and the dev stack's data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .tickless
