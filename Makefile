# Every command the project has. Each prints what it does; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup check hunt test demo up down e2e faults images crds lock

UV_VERSION := 0.13.9
UV := build/uv/bin/uv
PY := .venv/bin/python
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
PYTHON ?= $(shell command -v python3.11 || command -v python3)

help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(UV):
	@echo "setting up uv $(UV_VERSION) in build/uv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: $(PYTHON) is $$($(PYTHON) --version). Install one and call make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "installing python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv; }
	@$(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Compiled once here, and not in each of the first processes that import it.
.venv/ready: pyproject.toml uv.lock | $(UV)
	@echo "installing the locked Python packages into .venv"
	@$(UV) sync --quiet --frozen --compile-bytecode --python $(PYTHON) --all-extras --all-groups
	@touch .venv/ready

setup: .venv/ready ## the Python environment, from the lock file

lock: | $(UV) ## choose versions again and write uv.lock
	@$(UV) lock --python $(PYTHON)

crds: setup ## generate crds/, the chart's copies of them and its presets for clouds
	@$(PY) -m preamar.api.crd
	@$(PY) -m e2e.presets

check: setup ## seconds: format, lint, types, import contracts, unit and property tests, generated files
	@$(PY) -m e2e.check

hunt: setup ## hours: the tests of make check that draw examples, with many more; SHARD=1/4 ROUND=2 NAMES=life
	@SHARD=$(SHARD) ROUND=$(ROUND) NAMES=$(NAMES) $(PY) -m e2e.hunt

demo: ## from a clean clone: a cluster, the chart and the main job on real input, step by step
	@PREAMAR_BEGAN=$$(date +%s) $(MAKE) --no-print-directory demo-story

.PHONY: demo-story
demo-story: setup
	@$(PY) -m e2e.demo

test: setup ## all tests, on a real cluster; says where the time went
	@$(PY) -m e2e.everything

e2e: setup ## the journeys and the clients, on the cluster that is up
	@$(PY) -m pytest -rs e2e/clients e2e/journeys

-include e2e/clusters/clusters.mk e2e/faults/faults.mk e2e/bench/bench.mk workloads/deepspeed/deepspeed.mk
