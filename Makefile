# Two commands for everybody: `make book` and `make test`. The rest is for those who change things.
# PYTHON=python3.12 chooses the interpreter; it must be 3.11 or 3.12.

VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
# The certificates of the system, as behind the proxy of an institute.
export UV_SYSTEM_CERTS := 1
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	>/dev/null 2>&1 && echo $$p && break; done)

.PHONY: book test lab lint lock bench setup setup-sphinx setup-bench clean

# BOOK names further options, for instance BOOK="--jobs 1".
book: setup
	$(BIN)/python -m helpers book $(BOOK)

# Two processes with one thread each; PYTEST names further options.
test: setup setup-sphinx
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(PYTEST)

lab: setup
	$(BIN)/jupyter lab --notebook-dir=notebooks

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Speed against peers; BENCH=--record keeps the tables for the book's performance page.
bench: setup setup-bench
	$(BIN)/python -m benchmarks.bench_metrics $(BENCH)
	$(BIN)/python -m benchmarks.bench_embedding $(BENCH)
	$(BIN)/python -m benchmarks.bench_training $(BENCH)
	$(BIN)/python -m benchmarks.bench_robustness $(BENCH)
	$(BIN)/python -m benchmarks.bench_selection $(BENCH)
	$(BIN)/python -m benchmarks.bench_moco $(BENCH)

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 with venv found." \
		"Install one (Debian: python3-venv) or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON): about 6 GB, a few minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# A second, small environment: the same sources must build on plain current Sphinx, too.
setup-sphinx: .venv-sphinx/.ready

.venv-sphinx/.ready: requirements-sphinx.lock $(VENV)/.ready
	$(PYTHON) -m venv --without-pip .venv-sphinx
	$(BIN)/uv pip install --quiet --python .venv-sphinx/bin/python -r requirements-sphinx.lock
	@touch $@

# The public libraries that selection and MoCo are timed against.
setup-bench: .venv-bench/.ready

.venv-bench/.ready: requirements-bench.lock $(VENV)/.ready
	$(PYTHON) -m venv --without-pip .venv-bench
	$(BIN)/uv pip install --quiet --python .venv-bench/bin/python -r requirements-bench.lock
	@touch $@

lock: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev pyproject.toml \
		--output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 requirements-sphinx.in \
		--output-file requirements-sphinx.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 requirements-bench.in \
		--output-file requirements-bench.lock

clean:
	rm -rf book/_build book/chapters
