# The newest supported Python that runs; `make PYTHON=/path/to/python3.13 ...` overrides it.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: quickstart test test-slow check results-digits

quickstart: .venv/installed
	.venv/bin/python -m experiments.digits --gate=learned

test: .venv/installed-dev check
	.venv/bin/python -m pytest -q

test-slow: .venv/installed-dev
	.venv/bin/python -m pytest -q -m slow

# The digits table and picture of the README, about 20 minutes on 2 cores; repeat it to resume.
results-digits: .venv/installed
	for seed in 0 1 2 3 4; do for gate in learned none fixed; do \
		.venv/bin/python -m experiments.digits --gate=$$gate --seed=$$seed \
			--output=runs/digits-$$gate-seed$$seed || exit; done; done
	.venv/bin/python -m experiments.summarize --name digits runs/digits-*-seed*
	.venv/bin/python -m experiments.gates --run runs/digits-learned-seed0 --against runs/digits-none-seed0 \
		--output results/gates.png

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
