# Everything starts here: `make demo` tells the story, `make test` proves it. `make help` lists the rest.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
TESTS ?= tests
QUICK := $(foreach slow,behaviour contract e2e tools,--ignore tests/$(slow)) -m 'not programs and not storage'

export HOLDFAST_TOOLS := $(CURDIR)/$(BIN)

# Not for every recipe: setup must not find the Python of .venv, which it may make anew.
WITH_PROGRAMS := PATH="$(CURDIR)/$(BIN):$$PATH"

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt lock docs clean setup-demo setup-python \
	setup-cluster cluster cluster-down e2e e2e-long behaviour bench-cluster

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 16

define set_up
	@command -v $(PYTHON) >/dev/null || { \
	  echo "✗ $(PYTHON) is not here. Install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3 python3-venv)" >&2; \
	  echo "  or name one: make $@ PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m tools.setup $(1)
endef

setup: ## get everything: packages in .venv, kopia, restic and the S3 server of the tests
	$(call set_up,kopia restic versitygw)

# The programs of the real cluster: ten minutes to build, once.
setup-cluster:
	$(call set_up,kopia restic versitygw csi-provisioner csi-sanity csi-snapshotter etcd kube-apiserver \
	  kube-controller-manager kube-proxy kube-scheduler kubectl kubelet local-path-provisioner snapshot-controller)

setup-demo:
	$(call set_up,kopia restic)

setup-python:
	$(call set_up,)

demo: setup-demo ## lose everything, get it back (ARGS="--engine restic")
	@$(WITH_PROGRAMS) $(BIN)/holdfast demo $(ARGS)

define static_checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
endef

test: setup ## format, lint, types, import contracts, and every test with the real programs (TESTS=tests/decide)
	$(static_checks)
	$(WITH_PROGRAMS) $(BIN)/pytest -n 3 $(ARGS) $(TESTS)

check: setup-python ## the same without the slow tests: under a minute
	$(static_checks)
	$(BIN)/pytest -n 3 -q $(QUICK) $(ARGS) tests

cluster: setup-cluster ## a real one-node Kubernetes, as root; it stays until make cluster-down (docs/how-to/cluster.md)
	@$(WITH_PROGRAMS) $(BIN)/python -m tests.cluster up

cluster-down: ## take that cluster away, also one that crashed
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m tests.cluster down

e2e: setup-cluster ## the end-to-end tests in such a cluster, which is taken away afterwards
	@$(WITH_PROGRAMS) $(BIN)/python -m tests.cluster run $(BIN)/pytest -m 'not long' $(ARGS) tests/e2e
	@$(BIN)/python -m tests.cluster run $(BIN)/python -m tests.cluster.crash

e2e-long: setup-cluster ## those that are too long for every change: disasters, outages, kills, leaks, drift
	@$(WITH_PROGRAMS) $(BIN)/python -m tests.cluster run $(BIN)/pytest -m long $(ARGS) tests/e2e

behaviour: setup-cluster ## the behaviour tests of the sandbox, in such a cluster (TESTS=tests/behaviour/test_fills.py)
	@$(WITH_PROGRAMS) $(BIN)/python -m tests.cluster run $(BIN)/pytest $(ARGS) $(or $(filter-out tests,$(TESTS)),tests/behaviour)

bench-cluster: setup-cluster ## where the seconds of a backup and of a restore go, in such a cluster (ARGS="--rounds 5")
	@$(WITH_PROGRAMS) $(BIN)/python -m tests.cluster run $(BIN)/python -m benchmarks.cluster $(ARGS)

fmt: setup-python ## format and repair what can be repaired
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

LOCK := .cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(ARGS)

lock: setup-python ## lock the newest packages that pyproject.toml allows (ARGS=--upgrade)
	@test -x .cache/lock/bin/uv || { $(PYTHON) -m venv .cache/lock && .cache/lock/bin/python -m pip install -q 'uv~=0.13.9'; }
	$(LOCK) --output-file requirements/runtime.txt pyproject.toml
	$(LOCK) --group dev --output-file requirements/dev.txt pyproject.toml

docs: setup-python ## make the reference; check the links, commands and limits of the documentation
	$(BIN)/python -m holdfast.cli.reference > docs/reference/cli.md
	$(BIN)/python -m holdfast.render.reference docs/reference
	$(BIN)/pytest -q tests/docs

clean: ## remove what was made in this checkout; built programs stay in the cache (docs/how-to/set-up.md)
	rm -rf .venv .venv.discarded .cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
