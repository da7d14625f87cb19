# Everything runs in .venv, which the first target that needs it makes. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
SET_UP := .venv/.set-up
DATA_DIR ?=
SMOKE ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help study report test browser check format bench gpu-evidence clean

help:  ## list the targets
	@echo "make TARGET, where TARGET is one of"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

study: $(SET_UP)  ## run the main study (labeled_rate, quick preset, embedded digits) to a finished report
	@echo "==> running the labeled_rate study; Ctrl-C stops it, the same command continues"
	$(BIN)/python -m ssgan_bench.study labeled_rate --preset quick

report: $(SET_UP)  ## write the report of the main study again from its records
	$(BIN)/python -m ssgan_bench.report labeled_rate --preset quick

test: $(SET_UP) browser  ## run the tests
	@echo "==> running the tests (4 to 9 minutes on 2 cores)"
	$(BIN)/python -m pytest

# The report pages are tested in Chromium; without it those tests are skipped, so a failure here is none.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "==> installing Chromium for the tests of the report pages"; \
	  (timeout 120 apt-get update && DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install --yes --no-install-recommends chromium) \
	    >/dev/null 2>&1 || echo "    not possible here; those tests are skipped"; \
	fi

check: $(SET_UP)  ## format, lint, types and import directions, without changing a file
	@echo "==> checking format, lint, types, import directions"
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_import_directions.py

format: $(SET_UP)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(SET_UP)  ## time training steps and everything around them, write reports/benchmarks/<device>/
	$(BIN)/python -m pytest --benchmark-only --benchmark-json=benchmark.json
	$(BIN)/python -m ssgan_bench.report benchmarks benchmark.json

# On a machine whose interpreter has everything already: make gpu-evidence EVIDENCE_PYTHON=python3
EVIDENCE_PYTHON ?= $(BIN)/python
gpu-evidence: $(if $(filter $(BIN)/python,$(EVIDENCE_PYTHON)),$(SET_UP))  ## what only a GPU can show, 9 minutes at a time (SMOKE=1: at toy size on a CPU)
	$(EVIDENCE_PYTHON) -m ssgan_bench.evidence $(if $(SMOKE),--smoke,$(if $(DATA_DIR),--data-dir $(DATA_DIR)))

clean:  ## delete the virtual environment and caches; runs and reports stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache build *.egg-info

$(SET_UP): pyproject.toml
	@echo "==> setting up .venv with $$($(PYTHON) --version) (first time: a few minutes, PyTorch is large)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
