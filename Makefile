# λScale: every path through the artifact, from a bare checkout (Python 3.11 or newer, and make).
#
# The environment is .venv, with the versions of artifact/constraints.txt. Choices, all optional:
#   PYTHON=python3.12   the Python that makes .venv
#   TORCH=system        use the torch that PYTHON already has, instead of installing one
#   TORCH=2.9.1         install that version of torch instead of the pinned one
# The choice of torch is remembered in .venv until `make clean`. Of `make reproduce` and `make figures`:
#   PROFILE=quick       the notebooks at their defaults; trust: simulation against reality; paper: the figures; all by default
#                       soak: a day of 1,000 nodes, and ten minutes over HTTP without and with kills; half an hour
#                       cluster: every measured experiment on a Ray cluster, with CLUSTER=its file
#   FROM=results/runs   draw from what was run here instead of what is committed

PYTHON ?= python3
TORCH ?= $(shell cat .venv/torch 2>/dev/null || echo pinned)

VENV_PYTHON := .venv/bin/python
MODEL := smollm2-135m
PROFILE ?= quick trust paper
FROM ?= reference
CREATED = .venv/.created-$(TORCH)
INSTALLED = .venv/.installed-$(TORCH)
RAY = .venv/.cluster
PEERS_INSTALLED = .peers/.installed
FETCHED = .venv/.fetched-$(MODEL)
PYTEST = OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest tests notebooks --nbval-lax --nbval-current-env
PIP_INSTALL = $(VENV_PYTHON) -m pip install -qq --disable-pip-version-check -c .venv/constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check format test test-rdma test-cluster kick-the-tires reproduce figures reference readme chaos soak bench bench-peers lab clean

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

test-rdma: $(INSTALLED) ## Run the tests of real verbs, in a virtual machine where there is no RDMA device (four minutes; Debian)
	$(VENV_PYTHON) -m lambdascale.provision.softroce

test-cluster: setup $(RAY) ## Test on a real Ray cluster of four shaped hosts on this machine (four minutes, root)
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m lambdascale.provision.emulated -- \
	  $(VENV_PYTHON) -m pytest tests/cluster --cluster {cluster}

kick-the-tires: setup ## Run the notebooks at their quick defaults and print expected against obtained
	$(VENV_PYTHON) -m lambdascale.experiments.reproduce --profile quick

reproduce: setup $(if $(filter cluster,$(PROFILE)),$(RAY)) ## Kick the tires, measure how far to trust the simulation, then draw every figure (resumable)
	$(VENV_PYTHON) -m lambdascale.experiments.reproduce $(PROFILE:%=--profile %) $(if $(CLUSTER),--cluster $(CLUSTER))

figures: $(INSTALLED) ## Draw every figure again from committed results (FROM=reference) or a folder of results
	$(VENV_PYTHON) -m lambdascale.experiments.redraw $(if $(filter reference,$(FROM)),,--source $(FROM))

reference: $(INSTALLED) ## Copy the small results of a completed `make reproduce PROFILE=paper` to results/reference
	$(VENV_PYTHON) -m lambdascale.experiments.reference --profile paper
	$(VENV_PYTHON) -m lambdascale.experiments.readme

readme: $(INSTALLED) ## Write the tables of README.md and artifact/profiles from claims, results and jobs
	$(VENV_PYTHON) -m lambdascale.experiments.readme

chaos: setup ## Run random scenarios in which nodes die, in virtual time (2,000 by default; SEEDS=10000)
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest tests/test_chaos.py -n auto -q --seeds $(or $(SEEDS),2000)

soak: setup ## A thousand random scenarios and a day of 1,000 nodes in virtual time; 200 clients at a time; 20 killed agents; ten minutes of a trace with kills (an hour; SEEDS=1000 CLIENTS=200 ROUNDS=20)
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest tests/test_serverless_random.py -n auto -q --seeds $(or $(SEEDS),1000)
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest tests/test_serve_load.py -s -q --clients $(or $(CLIENTS),200) --timeout 900
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest tests/test_kills_real.py -q --rounds $(or $(ROUNDS),20)
	$(VENV_PYTHON) -m lambdascale fetch --trace lambdascale_trace0_30min
	$(VENV_PYTHON) -m lambdascale.experiments.reproduce --profile soak
	$(VENV_PYTHON) -m lambdascale.experiments.reference --profile soak

bench: setup ## Measure multicast, storage and batching as ratios against memcpy and transformers
	$(VENV_PYTHON) -m lambdascale.experiments.bench

bench-peers: $(INSTALLED) $(PEERS_INSTALLED) ## Multicast beside gloo, NIXL, Mooncake, Ray and a star on shaped links (root; 20 minutes)
	$(VENV_PYTHON) -m lambdascale.experiments.bench_peers --python .peers/bin/python

lab: setup ## Open notebooks/00_start_here in JupyterLab
	.venv/bin/jupyter lab notebooks/00_start_here.ipynb

clean: ## Remove the environment and the caches; results/ stays
	rm -rf .venv .peers .rdma .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
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

$(RAY): $(INSTALLED)
	@$(VENV_PYTHON) -c 'import ray' 2>/dev/null || $(PIP_INSTALL) --no-build-isolation -e '.[dev,cluster]'
	@touch $@

$(PEERS_INSTALLED): artifact/constraints-peers.txt artifact/constraints.txt
	@echo "Installing the peers into .peers (a few minutes, 3 GB with a CPU build of torch)"
	@rm -rf .peers && $(PYTHON) -m venv .peers
	@for peer in numpy torch nixl mooncake-transfer-engine-non-cuda ray; do \
	  .peers/bin/python -m pip install -qq --disable-pip-version-check \
	    -c artifact/constraints.txt -c artifact/constraints-peers.txt $$peer || \
	  echo "$$peer cannot be installed here; the comparison will say so" >&2; done
	@touch $@

$(FETCHED): $(INSTALLED)
	@$(VENV_PYTHON) -m lambdascale fetch --model $(MODEL)
	@touch $@
