# Two commands, on a machine with Python (3.11 or newer), git and make: `make demo` and `make test`.
# Both set up an environment of their own in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# Options for the demo: make demo ARGS="--model mlp --epochs 10"
ARGS ?=

.PHONY: demo test conformance bench lint types readme clean

demo: $(VENV)/.installed
	$(BIN)/dlcore train $(ARGS)

test: lint types $(VENV)/.compared
	$(BIN)/pytest -n $(JOBS) --dist worksteal

# ONNX' own test cases, PyTorch and Keras against dlcore, with a table of what was compared. `make test` runs them too.
conformance: $(VENV)/.compared
	$(BIN)/python -m tests.conformance

# dlcore beside Flax, Equinox, Haiku, Keras and PyTorch: half an hour on a machine that does nothing else.
# Options: make bench ARGS="--quick", ARGS="--only pool,norm --no-compile"
bench: $(VENV)/.compared
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

# Tables and texts in README.md, made anew from benchmarks/results.
readme: $(VENV)/.installed
	$(BIN)/python -m benchmarks.readme

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dlcore needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

# The projects that tests/conformance and benchmarks compare with; a CPU build of PyTorch, if there is one already, will do.
$(VENV)/.compared: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,conformance,bench]'
	@touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
