# The newest supported Python that runs; `make PYTHON=/path/to/python3.13 ...` overrides it.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: quickstart test check

quickstart: .venv/installed
	.venv/bin/python -m experiments.digits --gate=learned

test: .venv/installed-dev check
	.venv/bin/python -m pytest -q

check: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found; try make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install -q -e .
	@touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install -q -e '.[dev]'
	@touch $@
