# Expunge. `make help` lists what can be made. Needs make (3.81 or newer) and Python 3.11 or newer, nothing else.

PYTHON ?= python3
VENV ?= .venv
# Processes the tests run in; integration and e2e tests bring a database and a Redis number of their own for each.
TEST_PROCESSES ?= 2
# Further arguments: make test ARGS="-k ledger", make demo ARGS="--class 3 --keep", make bench ARGS=api_latency.
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# The first time there is much to download, and pip shows how far it is; later it would list what is there already.
QUIET := $(if $(wildcard $(BIN)/uvicorn),--quiet)
LOCK_INPUTS := pyproject.toml constraints.txt
COMPOSE_FILES := docker-compose.yml docker-compose.gpu.yml
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --all-extras --strip-extras --no-annotate \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

.DEFAULT_GOAL := help
.PHONY: help install check lint types contracts containers format test demo bench lock clean

help: ## List the targets.
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.installed-dev ## Make .venv with the pinned dependencies of service, worker and development.

check: lint types contracts containers ## Format, lint, types, import contracts, container files.

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

contracts: $(VENV)/.installed-dev
	$(BIN)/lint-imports

containers: $(VENV)/.installed-dev
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec $(COMPOSE_FILES)
	$(BIN)/hadolint Dockerfile

format: $(VENV)/.installed-dev ## Format, and mend what the linter can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(VENV)/.installed-dev ## Run all tests with branch coverage (ARGS go to pytest).
	$(PYTEST) -n $(TEST_PROCESSES) --dist loadfile --cov --cov-branch --cov-report=term $(ARGS)

demo: $(VENV)/.installed-worker ## Delete a class from a real classifier over real HTTP (ARGS go to `expunge demo`).
	$(BIN)/expunge demo $(ARGS)

bench: $(VENV)/.installed-worker ## Print the figures: all of benchmarks/, or the one named in ARGS.
	@set -e; for script in $(if $(ARGS),benchmarks/$(firstword $(ARGS)).py,benchmarks/*.py); do \
		echo "== $$script"; $(BIN)/python "$$script" $(wordlist 2,99,$(ARGS)); done

lock: $(VENV)/.installed-dev ## Resolve constraints.txt again, keeping what still fits (ARGS=--upgrade renews all).
	$(PIP_COMPILE) $(ARGS) --output-file constraints.txt pyproject.toml

clean: ## Remove .venv, caches and build output (not data).
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* build dist
	rm -rf ./*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say what was installed and when: with unchanged inputs every target goes straight to its work.
# The demo needs no development tools, so its stamp comes first and development is added to it.
$(VENV)/.installed-worker: $(LOCK_INPUTS)
	@command -v $(PYTHON) >/dev/null || { echo "Expunge needs Python 3.11 or newer; $(PYTHON) was not found." \
		"Name another with: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Expunge needs Python 3.11 or newer;" \
		"$(PYTHON) is `$(PYTHON) -V 2>&1`." \
		"Name another with: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	$(PIP) install $(QUIET) -c constraints.txt -e '.[worker]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-worker
	$(PIP) install --quiet -c constraints.txt -e '.[worker,dev]'
	touch $@
