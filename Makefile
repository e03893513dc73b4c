# `make repro` on a fresh clone is all the set-up and runs everything; so does `make test` for the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(BIN):$(PATH)

.PHONY: help repro report test lab lint lock
help:
	@echo "make repro   set up, run the pipeline (only what has changed), write reports/"
	@echo "make report  the executed notebooks in one page, reports/index.html"
	@echo "make test    set up and run the tests"
	@echo "make lab     JupyterLab in notebooks/"
	@echo "make lint    ruff and the checks on notebooks"
	@echo "make lock    compile requirements.txt anew from requirements.in (needs uv)"

repro: $(READY)
	@dvc repro

report: repro
	@python -m alignet.report

test: $(READY)
	@python -m pytest

lab: $(READY)
	@jupyter lab --notebook-dir=notebooks

lint: $(READY)
	@ruff check . && ruff format --check . && nbstripout --verify notebooks/*.ipynb

lock:
	uv pip compile requirements.in --universal --python-version 3.11.0 --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate -o requirements.txt

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "alignet needs Python 3.11 or newer, and $(PYTHON) is older or missing: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) lacks the venv module: install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Setting up $(VENV): about 3 minutes and 6 GB"
	@$(PYTHON) -m venv $(VENV)
	@python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@
