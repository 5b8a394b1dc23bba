# The two commands of the README: `make demo` and `make test`. Both work in a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# How many tests run at once. Each worker holds about 1.5 GB.
WORKERS ?= auto
# Any photograph of yours: make demo PHOTO=holiday.jpg
PHOTO ?=

.PHONY: demo test test-slow check format clean

demo: $(INSTALLED)
	@photo="$(PHOTO)"; \
	if [ -z "$$photo" ]; then \
		photo=$$($(BIN)/python -c 'import importlib.util as u; print(u.find_spec("geoclip").submodule_search_locations[0])')/images/Kauai.png; \
	fi; \
	echo "\$$ img2loc ask $$photo"; \
	$(BIN)/img2loc ask "$$photo"

test: check
	$(BIN)/pytest -m "not slow" --numprocesses $(WORKERS) --maxprocesses 8 --dist worksteal --cov --cov-report term

test-slow: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[dev,slow]'
	$(BIN)/pytest -m slow

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build .coverage .coverage.*
