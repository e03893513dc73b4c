# `make repro` on a fresh clone is all the set-up and runs everything; so does `make test` for the tests.
# Programs run as `python -m`: the scripts of an environment cannot start from a path with spaces.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
RUN := "$(BIN)/python"
READY := $(VENV)/.ready
OTHERS := $(VENV)/bench/.ready
NEEDS_GIT := git --version >/dev/null 2>&1 || { echo "the tests need git: install it (Debian, Ubuntu: apt install git)" >&2; exit 1; }
export PATH := $(BIN):$(PATH)

# Where the home cannot be written to, what its programs keep there goes into a folder that dvc ignores.
ifneq ($(shell test -d "$$HOME" && test -w "$$HOME" && echo yes),yes)
KEEP := $(CURDIR)/.dvc/tmp/home
export IPYTHONDIR := $(KEEP)/ipython
export JUPYTER_CONFIG_DIR := $(KEEP)/jupyter
export JUPYTER_DATA_DIR := $(KEEP)/jupyter
export MPLCONFIGDIR := $(KEEP)/matplotlib
export DVC_GLOBAL_CONFIG_DIR := $(KEEP)/dvc
export DVC_SITE_CACHE_DIR := $(KEEP)/dvc
export PIP_NO_CACHE_DIR := 1
endif
ifneq ($(shell test -d "$$HOME" && echo yes),yes)
export HOME := $(CURDIR)/.dvc/tmp/home
endif

.PHONY: help repro compare replicate ablate develop report bench test test-all test-browser lab lint lock clean-cache
help:
	@echo "Run"
	@echo "  make repro      set up, run the pipeline (only what has changed), write reports/"
	@echo "  make replicate  teacher, labels and students again with four other seeds: reports/tables/seeds.csv"
	@echo "  make ablate     students again with one choice changed at a time: reports/tables/ablations.csv"
	@echo "  make develop    students with other settings, on concepts that no result is reported on: reports/tables/development.csv"
	@echo "Read"
	@echo "  make report     a page to read offline, reports/index.html, and the executed notebooks"
	@echo "  make lab        JupyterLab, with the notebooks in notebooks/"
	@echo "  make compare    table by table, how far this run is from the published one; FETCH=1 gets that one's figures"
	@echo "Own data"
	@echo "  .venv/bin/python -m alignet --help    every command: worlds (your own pictures), jspsych, evaluate, export and others"
	@echo "Developers"
	@echo "  make test          set up and run the tests but the slow ones; make test-all: all of them"
	@echo "  make test-browser  the report and JupyterLab in Chromium, after make repro; pictures in reports/screens/"
	@echo "  make lint          ruff, the checks on notebooks, and types (mypy)"
	@echo "  make docs          the site, docs/_build/html: pages, executed notebooks and the API; warnings are errors"
	@echo "  make bench         speed and memory beside other ways: reports/tables/bench.csv; TASKS=\"rsa kmeans\" runs only these"
	@echo "  make lock          compile requirements.txt anew from pyproject.toml (needs uv)"
	@echo "  make clean-cache   empty data/frozen, outputs of frozen layers that are computed again when they are needed"

repro: $(READY)
	@$(RUN) -m alignet.pipeline.repro

compare: $(READY)
	@$(RUN) -m alignet.report.compare $(if $(FETCH),--fetch)

replicate: repro
	@$(RUN) -m alignet.reruns.replicate

ablate: repro
	@$(RUN) -m alignet.reruns.ablate

develop: repro
	@$(RUN) -m alignet.reruns.develop

report: repro
	@$(RUN) -m alignet.report

bench: $(READY) $(OTHERS)
	@$(RUN) -m bench $(TASKS)

test: $(READY)
	@$(NEEDS_GIT)
	@$(RUN) -m pytest -n 2 -m "not slow"

test-all: $(READY)
	@$(NEEDS_GIT)
	@$(RUN) -m pytest -n 2 --dist loadgroup

test-browser: $(READY)
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r tests/browser/requirements.txt
	@ALIGNET_BROWSER=1 $(RUN) -m pytest -n 0 tests/browser

lab: $(READY)
	@$(RUN) -m jupyterlab --ServerApp.root_dir="$(CURDIR)"

lint: $(READY)
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m nbstripout --verify notebooks/*.ipynb && $(RUN) -m mypy

clean-cache: $(READY)
	@$(RUN) -m alignet.pipeline.cache --empty

lock:
	uv pip compile pyproject.toml --extra pipeline --extra emoji --extra test --extra dev --universal --python-version 3.11.0 \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.txt

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "alignet needs Python 3.11 or newer, and $(PYTHON) is older or missing: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) lacks the venv module: install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import os, shutil, sys; sys.exit(not os.path.exists("$@") and shutil.disk_usage(".").free < 6e9)' || \
		{ echo "less than 6 GB of disk are free here, and the packages need them: make room" >&2; exit 1; }
	@echo "Setting up $(VENV): 3 to 5 minutes and 6 GB"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

# What `make bench` compares with and needs other packages than ours; without it these rows are left out, with an error.
$(OTHERS): bench/requirements.txt | $(READY)
	@echo "Setting up $(VENV)/bench (thingsvision, with the torch and tensorflow it asks for): 2 to 5 minutes and 7 GB"
	@$(PYTHON) -m venv $(VENV)/bench && $(VENV)/bench/bin/python -m pip install --quiet --disable-pip-version-check \
		-r bench/requirements.txt && touch $@ || echo "$(VENV)/bench: not set up (thingsvision needs Python 3.10 or 3.11)" >&2

# The site: docs, notebooks as the last run executed them, and the API. Nothing is asked of the net while it is built.
SITE := $(VENV)/.docs
docs: $(SITE)
	@$(RUN) -m sphinx -W --keep-going -q -c docs . docs/_build/html
	@echo "docs/_build/html/index.html"

$(SITE): docs/requirements.txt $(READY)
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt -c requirements.txt
	@touch $@
.PHONY: docs
