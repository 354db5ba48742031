# What one does here, as commands. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# The Python that makes the environments, 3.11 or newer: make test PYTHON=python3.12
PYTHON ?= python3

# .venv detects: no torch. .venv-dev does everything: torch as constraints/dev.txt pins it.
RUN := .venv/bin
DEV := .venv-dev/bin
PROJECTS := pyproject.toml clients/python/pyproject.toml

LINTED := runtime trainer export server clients demo benchmarks constraints docker tests
PACKAGES := $(addprefix -p ,loddis_runtime loddis_trainer loddis_export loddis_server loddis_client)
# Node and npm come with the environment.
JAVASCRIPT := export PATH="$(CURDIR)/$(DEV):$$PATH"; cd clients/javascript && npm ci --silent

.PHONY: help demo cameras serve test check format constraints clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUN)/.installed ## Stream an infrared clip through the server: table, demo/detections.ndjson, demo/annotated.mp4
	$(RUN)/python demo/run.py

cameras: $(RUN)/.installed ## Let three generated cameras watch, for the console in a browser; Ctrl-C ends it
	$(RUN)/python demo/cameras.py

serve: $(RUN)/.installed ## Serve the shipped model on http://127.0.0.1:8080
	$(RUN)/loddis-server --host 127.0.0.1 --port 8080

test: $(DEV)/.installed ## Run every test, with coverage, or some: ARGS="-k letterbox"
	$(if $(ARGS),$(DEV)/pytest $(ARGS),tests/run.sh $(DEV))

check: $(DEV)/.installed ## Lint, format, types, imports: what CI refuses, without the tests
	$(DEV)/ruff check $(LINTED)
	$(DEV)/ruff format --check $(LINTED)
	$(DEV)/mypy $(PACKAGES)
	$(DEV)/lint-imports
	$(JAVASCRIPT) && npm run --silent check

format: $(DEV)/.installed ## Put the code in the form that check wants
	$(DEV)/ruff check --fix $(LINTED)
	$(DEV)/ruff format $(LINTED)
	$(JAVASCRIPT) && npm run --silent format

constraints: $(DEV)/.installed ## Pin the newest dependencies that fit pyproject.toml
	$(DEV)/python constraints/refresh.py

clean: ## Remove what these commands made, environments included
	rm -rf .venv .venv-dev .coverage .coverage.* coverage.xml .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache demo/detections.ndjson demo/annotated.mp4 demo/picture.png \
		demo/frame.png demo/server.log clients/javascript/node_modules
	find runtime trainer export server clients tests demo benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Editable, so that edits count at once; made anew only when what is installed changes.
$(RUN)/.installed: $(PROJECTS) constraints/run.txt
	$(call environment,.venv)
	$(RUN)/pip install --quiet --constraint constraints/run.txt --editable ./clients/python --editable '.[server,cpu,demo]'
	touch $@

$(DEV)/.installed: $(PROJECTS) constraints/run.txt constraints/dev.txt
	$(call environment,.venv-dev)
	$(DEV)/pip install --quiet --constraint constraints/run.txt --constraint constraints/dev.txt \
		--editable ./clients/python --editable '.[dev]'
	touch $@

define environment
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Loddis needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.12 …")'
test -x $(1)/bin/pip || $(PYTHON) -m venv --clear $(1)
endef
