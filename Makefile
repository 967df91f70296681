# Everything runs in a virtual environment of its own; VENV and PYTHON can be set.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints-dev.txt

.PHONY: demo test lint fuzz docs docs-check docs-outputs notebooks matrix release-check coverage count format clean

demo: $(VENV)/demo.done
	$(BIN)/rerank demo

test: $(VENV)/dev.done lint
	$(BIN)/python -m pytest

lint: $(VENV)/dev.done
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy tests

# With other examples each time; FUZZ_SECONDS is when no further round begins.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/dev.done
	end=$$(($$(date +%s) + $(FUZZ_SECONDS))); while [ $$(date +%s) -lt $$end ]; do \
	$(BIN)/python -m pytest -q --hypothesis-profile=fuzz tests/fuzz || exit 1; done

docs: $(VENV)/dev.done
	$(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs build/docs

# In Chromium, which pip does not install: `apt-get install chromium`. SCREENSHOTS may name a folder.
docs-check: docs
	PYTHONPATH=tests $(BIN)/python -m support.site build/docs $(if $(SCREENSHOTS),--screenshots $(SCREENSHOTS))
	PYTHONPATH=tests $(BIN)/python -m support.served_page $(if $(SCREENSHOTS),--screenshots $(SCREENSHOTS))

# What the pages' and docstrings' examples print is compared by the tests; this writes it anew.
docs-outputs: $(VENV)/dev.done
	$(BIN)/python -m pytest -q --update-outputs tests/docs tests/test_readme.py tests/rerank_core/test_models.py

# Runs them, and writes their outputs anew.
notebooks: $(VENV)/dev.done
	$(BIN)/python -m pytest -q --update-outputs tests/notebooks

matrix: $(VENV)/dev.done
	$(BIN)/nox

release-check: $(VENV)/dev.done
	$(BIN)/nox -s dist installed

coverage: $(VENV)/dev.done
	$(BIN)/coverage erase
	-$(BIN)/coverage run -m pytest  # a few tests of processes fail while they are measured
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

count: $(VENV)/dev.done
	$(BIN)/python -m benchmarks.count

format: $(VENV)/dev.done
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.done: $(VENV)/pyvenv.cfg pyproject.toml constraints-dev.txt
	@echo "Installing rerank-core and what the demo needs into $(VENV): takes a minute"
	$(PIP) -e ".[demo]"
	touch $@

$(VENV)/dev.done: $(VENV)/pyvenv.cfg pyproject.toml constraints-dev.txt
	$(PIP) -e ".[dev]"
	touch $@ $(VENV)/demo.done
