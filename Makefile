# make run      the server, on port 8004
# make weights  download the model before the first task: MODEL=owner/name, or the one in serve_config.yaml
# make test     the tests; JOBS=2 runs those that do not start a server in two processes
# make check    lint, format, types, imports and docs/settings.md; changes nothing
# make fix      lint fixes, formatting and docs/settings.md; the only target that changes files
#
# The first target that you run creates .venv and installs the versions pinned in constraints.txt.
# Another Python: make PYTHON=python3.12 run

PYTHON ?= python3
JOBS ?= 1
VENV := .venv
IN_ORDER := tests/e2e tests/k8s tests/ingress/test_hostile_tenant.py
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: run weights test check fix clean

# exec: the launcher receives the signals itself and drains the server.
run: $(VENV)/.server
	@exec $(BIN)/python -m deployments.cli.launcher serve_config.yaml

weights: $(VENV)/.server
	@$(BIN)/python -m deployments.cli.download_model serve_config.yaml $(MODEL)

test: $(VENV)/.dev
ifeq ($(JOBS),1)
	$(BIN)/python -m pytest
else
	@failed=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(IN_ORDER:%=--ignore=%) || failed=1; \
	$(BIN)/python -m pytest $(IN_ORDER) || failed=1; \
	exit $$failed
endif

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m deployments.settings.docs | diff docs/settings.md - || { echo "make fix writes docs/settings.md" >&2; exit 1; }

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m deployments.settings.docs > docs/settings.md

clean:
	rm -rf $(VENV)

$(VENV)/.server: pyproject.toml constraints.txt
	$(call make_venv)
	$(INSTALL) -e '.[server]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(call make_venv)
	$(INSTALL) -e '.[server,dev]'
	@touch $(VENV)/.server $@

define make_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "$(PYTHON) is missing or older than Python 3.11. Name another: make PYTHON=python3.12" >&2; exit 1; }
@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	echo "no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
endef
