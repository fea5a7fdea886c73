# make demo            the whole product on loopback: pretend Stripe and LiteLLM, the real Traefik. Ctrl-C stops it.
# make demo STORY=1    the same, playing one buyer's story by itself; exit 0 only if every step succeeded
# make test            every check and test; says what it skipped and how to get it
# make test-quick      a minute's worth of the tests, for the inner loop; tests/conftest.py says what it leaves out
# make coverage        the tests once more at half the speed, and which lines they do not reach
# make test-servers    what the skipped tests need (Debian): PostgreSQL, Chromium, a real LiteLLM and Open WebUI …
# make docs            writes the tables of docs/ that are generated from the code
# make bench           the figures of bench/, each as a ratio to something in the same run
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
APT := postgresql pgbouncer chromium chromium-driver strace nginx-light wrk curl
# How many processes share the tests; each may start servers of its own.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 4 ] && echo $$n || echo 4)
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
INSTALL := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends

# Without its cache each process would compile the product and every test anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-quick coverage check docs test-servers bench clean

demo: $(VENV)/.demo
	@$(BIN)/skpay demo $(if $(STORY),--story)

test: check
	@$(PYTEST)

test-quick: $(VENV)/.dev
	@$(PYTEST) -m "not slow"

coverage: $(VENV)/.dev
	@$(BIN)/python -m coverage run -m pytest
	@$(BIN)/python -m coverage report --skip-covered --skip-empty | tail -n 40

check: $(VENV)/.dev
	@echo "ruff";         $(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@echo "mypy";         $(BIN)/mypy && MYPYPATH=tests:bench $(BIN)/mypy --explicit-package-bases --follow-imports=silent bench
	@echo "import rules"; $(BIN)/lint-imports --no-cache > $(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }
	@echo "docs";         $(BIN)/python docs/generate.py --check

docs: $(VENV)/.dev
	@$(BIN)/python docs/generate.py

test-servers:
	$(SUDO) apt-get update -qq
	$(INSTALL) $(APT)
	# A Go, a Node or a Docker client from elsewhere stays; Debian has the client as a package of its own since 13.
	command -v go >/dev/null || [ -x /usr/local/go/bin/go ] || $(INSTALL) golang-go
	command -v npm >/dev/null || $(INSTALL) nodejs npm
	command -v docker >/dev/null || $(INSTALL) docker-cli
	tests/servers/litellm/run_litellm.sh install
	tests/servers/openwebui/run_openwebui.sh install

bench: $(VENV)/.dev
	@for file in bench/*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed; give one with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "error: Python lacks its venv module; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "creating $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "installing what the demo needs …"
	@$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "installing what the tests need …"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.demo
