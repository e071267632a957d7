# The commands of this project. `make report` and `make test` are all that a newcomer needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
FOR_TESTS := chromium=chromium fonts-noto-cjk pdftotext=poppler-utils soffice=libreoffice-writer-nogui restic=restic borg=borgbackup \
             pgbackrest=pgbackrest mariadb-backup=mariadb-backup rclone=rclone postgresql java=default-jre-headless
PATIENT := -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300

.PHONY: help report test quick coverage check format lab benchmark docs site constraints clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

report: .venv/ready ## the month's report of the sample engagement
	@$(BIN)/audit-kit report --sample

test: check ## style, types and all tests: what CI runs
	@$(BIN)/python -m pytest -n 2 --dist worksteal

quick: check ## style, types and the tests that take no time: while you work
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow and not browser"

coverage: .venv/ready-dev ## all tests, with the lines they never reach; fails below the floor in pyproject.toml
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q --cov --cov-report=term:skip-covered

check: .venv/ready-dev ## style and types only
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: .venv/ready-dev ## put the code into the house style
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

lab: .venv/ready ## JupyterLab on the notebooks
	@$(BIN)/audit-kit lab

benchmark: .venv/ready-dev ## the figures of the README
	@$(BIN)/python benchmarks/run.py

docs: .venv/ready ## the pages that are made from the code
	@$(BIN)/audit-kit dictionary --lang en --out docs/data-dictionary.md
	@$(BIN)/audit-kit dictionary --lang zh --out docs/data-dictionary.zh-CN.md
	@$(BIN)/audit-kit causes --lang en --out docs/causes.md
	@$(BIN)/audit-kit causes --lang zh --out docs/causes.zh-CN.md

site: .venv/ready-dev ## the guide as a site, build/site/index.html
	@$(BIN)/python docs/site/build.py build

constraints: ## try the newest versions and write them down
	@rm -rf build/constraints && $(call python) -m venv build/constraints
	@build/constraints/bin/python -m pip --quiet install '.[dev]'
	@build/constraints/bin/python -m pip freeze --exclude audit-kit | sed -nE 's/^([A-Za-z0-9._-]+==[^ ;]+).*/\1/p' > constraints.txt

clean: ## remove what was made here, reports included
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis spark-warehouse reports/failed reports/index.html \
	  reports/history.parquet reports/20*

# The newest Python on PATH that is at least 3.11.
python = $$(for name in python3.14 python3.13 python3.12 python3.11 python3; do \
  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then command -v "$$name"; break; fi; done)

.venv/ready: pyproject.toml constraints.txt
	@$(call system,)
	@$(call install,.)

.venv/ready-dev: pyproject.toml constraints.txt
	@$(call system,$(FOR_TESTS))
	@$(call install,.[dev])
	@touch .venv/ready

# Debian packages that are missing: installed as root, else named in one line. `command=package` is there if the command is.
define system
if command -v dpkg-query >/dev/null; then \
  missing=; \
  for item in $(1); do name=$${item#*=}; \
    command -v "$${item%%=*}" >/dev/null || dpkg-query -W -f '$${Status}' "$$name" 2>/dev/null | grep -q '^install ok' \
      || missing="$$missing $$name"; done; \
  python=$(call python); "$${python:-false}" -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
  if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ]; then \
    echo "Installing$$missing"; \
    apt-get $(PATIENT) update -qq; \
    DEBIAN_FRONTEND=noninteractive apt-get $(PATIENT) install -y -qq --no-install-recommends $$missing >/dev/null; \
  elif [ -n "$$missing" ]; then \
    echo "Missing here; install with: sudo apt-get install$$missing" >&2; \
  fi; \
fi
endef

define install
python=$(call python); \
if [ -z "$$python" ]; then echo "Python 3.11 or newer is needed: install it from your system's packages or python.org." >&2; exit 2; fi; \
if ! [ -x $(BIN)/python ]; then echo "Making .venv with $$python"; "$$python" -m venv .venv; fi; \
echo "Installing the package and what it builds on (a few minutes the first time)"; \
$(PIP) install --constraint constraints.txt --editable '$(1)'; \
touch $@
endef
