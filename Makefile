# The two commands of the README: `make demo` and `make test`. Both work in a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.base
INSTALLED := $(VENV)/.installed
# How many tests run at once. Each worker holds about 1.5 GB.
WORKERS ?= auto
# Any photographs of yours: make demo PHOTO=holiday.jpg
PHOTO ?= docs/demo/red-pyramid.jpg docs/demo/rocket.jpg

.PHONY: demo test test-slow check format clean

demo: $(BASE)
	@echo '$$ img2loc ask $(PHOTO)'; begun=$$(date +%s); \
	$(BIN)/img2loc ask $(PHOTO); code=$$?; \
	echo "ask: $$(($$(date +%s) - begun)) s"; \
	echo "Next: img2loc index build FOLDER, on geotagged photos of yours; img2loc doctor says what else there is."; \
	test $$code -eq 0 -o $$code -eq 3

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
	touch $(BASE) $(INSTALLED)

# The base only. Modules are compiled when they are first imported, which is most of what pip would
# do after the download.
$(BASE): pyproject.toml
	@begun=$$(date +%s); set -e; \
	$(PYTHON) -m venv $(VENV); \
	$(BIN)/python -m pip download --quiet --dest $(VENV)/wheels . hatchling editables; \
	echo "download: $$(($$(date +%s) - begun)) s"; begun=$$(date +%s); \
	$(BIN)/python -m pip install --quiet --no-index --find-links $(VENV)/wheels --no-compile --editable .; \
	rm -rf $(VENV)/wheels; touch $(BASE); \
	echo "install: $$(($$(date +%s) - begun)) s, $$(du -sm $(VENV) | cut -f1) MB"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build .coverage .coverage.*
