# The newest supported Python that runs; `make PYTHON=/path/to/python3.13 ...` overrides it.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)

# Where a prepared CIFAR-10 lies, if not in TFDS's own folder: make CIFAR10=--data-dir=PATH results-cifar10
CIFAR10 ?=

.PHONY: quickstart docs test test-slow test-matrix test-faults check results-digits results-cifar10 results-schedules results-epochs reproduce reproduce-digits

quickstart: .venv/installed
	.venv/bin/python -m experiments.digits --gate=learned

test: .venv/installed-dev check
	.venv/bin/python -m pytest -q -n auto --dist worksteal

# The pages with the API reference, to build/site.
docs: .venv/installed-dev
	.venv/bin/python -m mkdocs build --strict --quiet

# Faults at random moments, a few hundred: hours. What was tried is kept in results/reliability.json and shown in
# docs/run-folder.md; stopped, it goes on.
test-faults: .venv/installed-dev
	.venv/bin/python -m tests.faults

test-slow: .venv/installed-dev
	.venv/bin/python -m pytest -q -m slow

# The tests on each Python with the lowest versions that pyproject.toml admits and with the newest: hours.
COMPILED = numpy scipy scikit-learn matplotlib pillow array-record mypy ruff
test-matrix: .venv/installed-dev
	.venv/bin/python -m pip install -q uv
	for python in 3.11 3.12 3.13; do for resolution in lowest-direct highest; do \
		echo "Python $$python, $$resolution"; \
		.venv/bin/uv venv -q --clear --python $$python build/matrix && \
		.venv/bin/uv pip install -q --python build/matrix $(COMPILED:%=--only-binary %) \
			--resolution $$resolution -e '.[dev]' && \
		build/matrix/bin/python -m pytest -q -n auto --dist worksteal || exit; done; done

# Tables of the findings; repeat a target to resume it. On 2 cores: 15 minutes,
results-digits: .venv/installed
	for seed in 0 1 2 3 4; do for gate in learned none fixed; do \
		.venv/bin/python -m experiments.digits --gate=$$gate --seed=$$seed \
			--output=runs/digits-$$gate-seed$$seed || exit; done; done
	.venv/bin/python -m experiments.summarize --name=digits \
		runs/digits-none-seed* runs/digits-learned-seed* runs/digits-fixed-seed*

# and 30 minutes.
results-schedules: .venv/installed
	for schedule in cosine step; do \
		for seed in 0 1 2; do .venv/bin/python -m experiments.digits --holdout=300 --schedule=$$schedule \
			--seed=$$seed --output=runs/schedule-digits-$$schedule-seed$$seed || exit; done; \
		.venv/bin/python -m experiments.cifar10 --epochs=12 --train-examples=15000 --holdout=5000 \
			--schedule=$$schedule $(CIFAR10) --output=runs/schedule-cifar10-$$schedule || exit; done
	.venv/bin/python -m experiments.summarize --name=schedules --by dataset schedule -- runs/schedule-*

# A plain network of as many epochs as a gated one has plain ones, on held-out images: 15 minutes.
results-epochs: .venv/installed
	for run in "none-9 --gate=none --epochs=9" "none --gate=none --epochs=13" \
		"lambda=0.1 --gate=learned --gate-loss-weight=0.1 --epochs=13"; do set -- $$run; name=$$1; shift; \
		.venv/bin/python -m experiments.cifar10 $$@ --holdout=5000 --train-examples=20000 $(CIFAR10) \
			--output=runs/tuning-$$name || exit; done
	.venv/bin/python -m experiments.summarize --name=epochs --by gate epochs -- runs/tuning-none-9 runs/tuning-none \
		runs/tuning-lambda=0.1

# Every run of the paper's claims with its report, in results/, but for those of the paper's length, which take a GPU:
# days on 2 cores; stopped, it goes on where it was. What results/ holds already is done: remove its runs/ (but for
# paper-*), tradeoff-*.json and ownership-*.json to do all from nothing.
# The two plans that start from a public ResNet-20 need it: make INIT=resnet20.safetensors reproduce
INIT ?=
reproduce: .venv/installed
	@echo "the times that are told leave out what comes after these plans: results-digits, -schedules and -epochs, an hour"
	@$(if $(INIT),,echo "without INIT=CHECKPOINT the plans that start from a public ResNet-20 are left out")
	.venv/bin/python -m experiments.reproduce cifar10 scratch tuning seeds digits-gates digits-gates-denser \
		$(if $(INIT),finetune weights --init=$(INIT)) $(CIFAR10)
	$(MAKE) results-digits results-schedules results-epochs results-cifar10

# The runs from the public ResNet-20 with the paper's method alone; without INIT there are none.
FINETUNED = $(sort $(wildcard results/runs/finetune-learned* results/runs/finetune-joint-alone))

# The runs of the paper's length, which a GPU trains; without them there are none.
PAPER = $(wildcard results/runs/paper-resnet20-fixed-joint/report.json)

# The tables and pictures of the README and the findings that come from those runs, which the repository holds: minutes.
results-cifar10: .venv/installed
	.venv/bin/python -m experiments.summarize --name=cifar10 --by gate scheme -- results/runs/cifar10-none \
		results/runs/cifar10-learned results/runs/cifar10-joint results/runs/cifar10-fixed results/runs/cifar10-fixed-joint
	.venv/bin/python -m experiments.convergence --run=results/runs/cifar10-joint \
		--against=results/runs/cifar10-learned --output=results/figures $(CIFAR10)
	.venv/bin/python -m experiments.ownership --output=results/ownership-cifar10.json results/runs/cifar10-learned \
		results/runs/cifar10-period6 results/runs/cifar10-joint $(if $(PAPER),results/runs/paper-resnet20-learned)
	$(if $(FINETUNED),.venv/bin/python -m experiments.ownership --output=results/ownership-finetune.json $(FINETUNED))
	.venv/bin/python -m experiments.gates --run=results/runs/cifar10-learned \
		--against=results/runs/cifar10-no-sparsity --output=results/figures
	$(if $(PAPER),for claim in masking localization; do \
		.venv/bin/python -m experiments.$$claim --run=results/runs/paper-resnet20-learned \
			--against=results/runs/paper-resnet20-none --output=results/figures $(CIFAR10) || exit; done)
	for claim in correlation clustering; do \
		.venv/bin/python -m experiments.$$claim --run=results/runs/cifar10-fixed \
			--against=results/runs/cifar10-none --output=results/figures $(CIFAR10) || exit; done
	$(if $(FINETUNED),.venv/bin/python -m experiments.masking --run=results/runs/finetune-joint \
		--against=results/runs/finetune-none --output=results/figures/finetune $(CIFAR10))
	$(if $(PAPER),.venv/bin/python -m experiments.correlation --run=results/runs/paper-resnet20-fixed-joint \
		--against=results/runs/paper-resnet20-none --output=results/figures/joint $(CIFAR10))
	.venv/bin/python -m experiments.correlation --run=results/runs/alexnet-fixed \
		--against=results/runs/alexnet-none --output=results/figures/alexnet $(CIFAR10)
	.venv/bin/python -m experiments.similarity --run=results/runs/cifar10-joint-costs \
		--against=results/runs/cifar10-none --output=results/figures $(CIFAR10)
	.venv/bin/python -m experiments.results --tables stated-cifar10-learned table2 convergence ownership-cifar10 \
		$(if $(PAPER),stated-paper-resnet20-learned) \
		$(if $(FINETUNED),ownership-finetune) $(if $(wildcard results/tradeoff-finetune.json),headline) \
		$(foreach plan,scratch finetune tuning weights seeds,$(if $(wildcard results/tradeoff-$(plan).json),effects-$(plan))) \
		$(foreach plan,digits-gates digits-gates-denser,$(if $(wildcard results/ownership-$(plan).json),ownership-$(plan)))

reproduce-digits: .venv/installed
	.venv/bin/python -m experiments.reproduce digits --runs=build/digits/runs --results=build/digits/results

check: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found; try make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 2; }

.venv/installed: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install -q -e .
	@touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install -q -e '.[dev]'
	@touch $@
