# Every verb works on a fresh clone: what it needs is installed into .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test test-slow soak check bench docs clean

quickstart: $(VENV)/.installed  ## three methods and two controls on a real task sequence, and a report
	$(BIN)/continual study pydocs --methods frozen,lora,curlora,nlora,slora --jobs 2 --out runs/quickstart

test: $(VENV)/.installed-dev  ## the fast suite; two workers of one thread each, not two of two
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not soak"

test-slow: $(VENV)/.installed-extras  ## the slow suite, as the fast one
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

soak: $(VENV)/.installed-extras  ## what takes longer than the slow suite may, by hand
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m soak

check: $(VENV)/.installed-dev  ## format, lint, types
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.installed  ## beside others: whole trainings, steps, decompositions; MODELS=DIR adds weights
	OMP_NUM_THREADS=1 $(BIN)/python analysis/peers/bench.py
	$(BIN)/python analysis/cost/bench.py
	$(BIN)/python analysis/decomposition/bench.py $(if $(MODELS),--models $(MODELS))

docs: $(VENV)/.installed  ## the documentation site, into site/
	$(PIP) --editable '.[docs]' && $(BIN)/mkdocs build --strict

clean:  ## the virtual environment and everything built
	rm -rf $(VENV) build dist site

# torch goes first: with it in place, nothing below replaces it by a build of several gigabytes.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing continual and what it needs into $(VENV) (a few minutes) ..."
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.installed-extras: $(VENV)/.installed-dev
	$(PIP) --editable '.[dev,tracking,energy]'
	@touch $@
