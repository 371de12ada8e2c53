# λScale: every path through the artifact, from a bare checkout (Python 3.11 or newer, and make).
#
# The environment is .venv, with the versions of artifact/constraints.txt. Choices, all optional:
#   PYTHON=python3.12   the Python that makes .venv
#   TORCH=system        use the torch that PYTHON already has, instead of installing one
#   TORCH=2.9.1         install that version of torch instead of the pinned one
# The choice of torch is remembered in .venv until `make clean`. Of `make reproduce` and `make figures`:
#   PROFILE=quick       the notebooks at their defaults; trust: simulation against reality; paper: the figures; all by default
#                       soak: a day of 1,000 nodes, five minutes
#   FROM=results/runs   draw from what was run here instead of what is committed

PYTHON ?= python3
TORCH ?= $(shell cat .venv/torch 2>/dev/null || echo pinned)

VENV_PYTHON := .venv/bin/python
MODEL := smollm2-135m
PROFILE ?= quick trust paper
FROM ?= reference
CREATED = .venv/.created-$(TORCH)
INSTALLED = .venv/.installed-$(TORCH)
FETCHED = .venv/.fetched-$(MODEL)
PYTEST = OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest tests notebooks --nbval-lax --nbval-current-env
PIP_INSTALL = $(VENV_PYTHON) -m pip install -qq --disable-pip-version-check -c .venv/constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check format test test-rdma kick-the-tires reproduce figures reference readme soak bench lab clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: $(FETCHED) ## Make the environment and fetch the model (about two minutes)

check: $(INSTALLED) ## Check format, lint (notebooks included) and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: $(INSTALLED) ## Format the code and apply the lint fixes that are safe
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

test: setup ## Run every test, notebooks included (about fifteen minutes)
	$(PYTEST) -n auto --dist loadfile -m "not alone"
	$(PYTEST) -m alone

test-rdma: $(INSTALLED) ## Run the tests of real verbs, in a virtual machine where there is no RDMA device (one minute; Debian)
	$(VENV_PYTHON) -m lambdascale.provision.softroce

kick-the-tires: setup ## Run the notebooks at their quick defaults and print expected against obtained
	$(VENV_PYTHON) -m lambdascale.experiments.reproduce --profile quick

reproduce: setup ## Kick the tires, measure how far to trust the simulation, then draw every figure (resumable)
	$(VENV_PYTHON) -m lambdascale.experiments.reproduce $(PROFILE:%=--profile %)

figures: $(INSTALLED) ## Draw every figure again from committed results (FROM=reference) or a folder of results
	$(VENV_PYTHON) -m lambdascale.experiments.redraw $(if $(filter reference,$(FROM)),,--source $(FROM))

reference: $(INSTALLED) ## Commit the small results of a completed `make reproduce` to results/reference
	$(VENV_PYTHON) -m lambdascale.experiments.reference --profile paper
	$(VENV_PYTHON) -m lambdascale.experiments.readme

readme: $(INSTALLED) ## Write the tables of README.md and artifact/profiles from claims, results and jobs
	$(VENV_PYTHON) -m lambdascale.experiments.readme

soak: setup ## Run a thousand random scenarios and a day of 1,000 nodes in virtual time (half an hour; SEEDS=1000)
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest tests/test_serverless_random.py -n auto -q --seeds $(or $(SEEDS),1000)
	$(VENV_PYTHON) -m lambdascale.experiments.reproduce --profile soak
	$(VENV_PYTHON) -m lambdascale.experiments.reference --profile soak

bench: setup ## Measure multicast, storage and batching as ratios against memcpy and transformers
	$(VENV_PYTHON) -m lambdascale.experiments.bench

lab: setup ## Open notebooks/00_start_here in JupyterLab
	.venv/bin/jupyter lab notebooks/00_start_here.ipynb

clean: ## Remove the environment and the caches; results/ stays
	rm -rf .venv .rdma .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find lambdascale tests notebooks -name __pycache__ -prune -exec rm -rf {} +

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "$(PYTHON) is missing or older than 3.11; name a newer one: make PYTHON=/path/to/python3.12 setup" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module; install it (Debian, Ubuntu: apt install python3-venv) and try again" >&2; exit 1; }
	@rm -rf .venv
	@$(PYTHON) -m venv $(if $(filter system,$(TORCH)),--system-site-packages) .venv
	@$(if $(filter system,$(TORCH)),$(VENV_PYTHON) -c 'import torch' 2>/dev/null || \
	  { rm -rf .venv; echo "$(PYTHON) has no torch to share; install it there or leave out TORCH=system" >&2; exit 1; })
	@echo $(TORCH) > .venv/torch
	@touch $@

$(INSTALLED): pyproject.toml artifact/constraints.txt | $(CREATED)
	@echo "Installing into .venv (about a minute, 1.8 GB with a CPU build of torch)"
	@sed '$(if $(filter system,$(TORCH)),/^torch==/d,$(if $(filter-out pinned,$(TORCH)),s/^torch==.*/torch==$(TORCH)/))' \
	  artifact/constraints.txt > .venv/constraints.txt
	@$(PIP_INSTALL) setuptools
	@$(PIP_INSTALL) --no-build-isolation -e '.[dev]'
	@touch $@

$(FETCHED): $(INSTALLED)
	@$(VENV_PYTHON) -m lambdascale fetch --model $(MODEL)
	@touch $@
