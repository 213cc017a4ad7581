# make demo and make test set up all they need in .venv, with nothing but Python >= 3.11 and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SYSTEM ?=
READY := $(VENV)/.ready

# Numbers of the originals and real images, where they lie beside the checkout; values already set win.
ifneq ($(wildcard ../shared/parity),)
export GRADATIM_PARITY ?= $(abspath ../shared/parity)
endif
ifneq ($(wildcard ../shared/data),)
export GRADATIM_DATA ?= $(abspath ../shared/data)
endif

.PHONY: demo test parity lint bench clean setup

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	$(BIN)/python -m compileall -q src
	touch $@

setup: $(READY)

demo: $(READY)
	$(BIN)/gradatim demo demo

test: $(READY)
	$(BIN)/python -m pytest -q

parity: $(READY)
	$(BIN)/python -m pytest -q -rs -m parity $(if $(SYSTEM),tests/parity/$(SYSTEM),tests/parity)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(READY)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist demo
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
