# Every target installs what it needs and repeats nothing that is up to date. `make help` lists them.
#
#   PYTHON=python3.12   the interpreter of .venv (else the newest of 3.11 to 3.13 on the machine)
#   JOBS=2              how many compilers run at once (else one a core)
#   PYTEST='-k ttl -x'  arguments for pytest
#   FUZZ_SECONDS=60     how long each fuzzer runs
#   SOAK_SECONDS=3600   how long the matrix of faults is repeated; once unless given
#   SOAK='--seed 7 --tiers redis --fault killed'   arguments for it

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
JOBS ?= $(shell nproc)
PYTEST ?=
SOAK ?=
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 0
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

# What git and pip trust, a company's proxy perhaps, is more than what uv brings along.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= true
endif

# The compiler, the build, GoogleTest, and fmt for the builds that have no Python.
PACKAGES := ccache clang cmake g++ git libclang-rt-dev libfmt-dev libgmock-dev libgtest-dev ninja-build
# The servers that the tests start for themselves.
PACKAGES += openssl pgbouncer postgresql redis-server

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup:  ## install the tools, make .venv, build the extension
	@python=
	[[ -n "$(PYTHON)" || -x $(BIN)/python || -n $$(.ci/interpreters) ]] ||
		python="python3 python3-dev python3-venv"
	.ci/packages $(PACKAGES) $$python
	.ci/environment $(VENV) $(PYTHON)

# ---- tests

test: setup  ## GoogleTest, the checks, then pytest, on one Python
	@$(MAKE) gtest check pytest

gtest: setup  ## GoogleTest alone, built without Python
	@.ci/gtest dev

pytest: setup  ## pytest alone
	@.ci/pytest $(VENV) $(PYTEST)

test-all: setup  ## pytest on every installed CPython 3.11 to 3.13
	@.ci/test-all $(VENV) $(PYTEST)

test-asan: setup  ## GoogleTest, then pytest, under AddressSanitizer and UBSan
	@.ci/gtest asan
	.ci/pytest-asan $(VENV) $(PYTEST)

test-tsan: setup  ## GoogleTest under ThreadSanitizer
	@.ci/gtest tsan

test-clang: setup  ## GoogleTest and the extension built by clang, its warnings as errors
	@.ci/gtest clang
	.ci/clang-extension $(VENV)

fuzz: setup  ## each fuzzer for FUZZ_SECONDS
	@.ci/fuzz $(VENV) $(FUZZ_SECONDS)

soak: setup  ## every fault of every tier under traffic, with random seeds
	@$(BIN)/python -m tests.integration.matrix.soak --seconds $(SOAK_SECONDS) $(SOAK)

coverage: setup  ## lines covered, C++ and Python
	@.ci/coverage $(VENV) $(PYTEST)

# ---- checks

check: setup  ## formatting, lints and types, C++ and Python
	@.ci/check $(VENV)

tidy: setup  ## clang-tidy, which is slower
	@.ci/tidy $(VENV)

format: setup  ## rewrite the sources as the formatters want them
	@$(BIN)/ruff check -q --fix-only .
	$(BIN)/ruff format -q .
	git ls-files -z --cached --others --exclude-standard '*.cpp' '*.hpp' | xargs -0 -r $(BIN)/clang-format -i

# ---- things to see

demo: setup  ## a service that saves money, live for about a minute
	@$(BIN)/python -m millpond demo $(DEMO)

bench: setup  ## one table against the peers
	@$(BIN)/python -m tests.benchmarks $(BENCH)

docs: setup  ## the site, into site/
	@.ci/docs $(VENV)

wheel: setup  ## sdist and manylinux wheels, audited and tried in empty environments
	@.ci/wheel $(VENV)

constraints: setup  ## pin what the pinned packages need
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate \
		$(addprefix --group pyproject.toml:,dev tidy coverage fuzz docs wheel) -o .ci/constraints.txt

clean:  ## remove what was built; .venv stays
	@rm -rf build dist wheelhouse site coverage

.PHONY: help setup test gtest pytest test-all test-asan test-tsan test-clang fuzz soak coverage check \
	tidy format demo bench docs wheel constraints clean
