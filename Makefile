# Everything a person does with the checkout; `make` alone prints this list.
PYTHON ?= python3.11
BIN := .venv/bin
BY_FILE := --dist loadfile --no-loadscope-reorder
PACKAGES := shared services/reports services/forums services/notifications services/hub cli
# What one process has compiled, hundreds of others would compile again.
unexport PYTHONDONTWRITEBYTECODE
export SSL_CERT_FILE ?= $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem))

.PHONY: help setup lock areas demo up stop test test-drills test-soak test-partitions test-containers check bench bench-tiny docs format

help:  ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: .venv/.ready  ## create .venv with everything in it, .venv/bin/rembuk included

.venv/.ready: requirements.txt $(addsuffix /pyproject.toml,$(PACKAGES))
	@command -v $(PYTHON) >/dev/null || { echo "make setup: $(PYTHON) is missing; install Python 3.11 or newer, or say PYTHON=python3.x"; exit 1; }
	@echo "setup: installing into .venv; the first time takes one to three minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-uv.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@$(BIN)/python -m compileall -q $(PACKAGES)
	@touch $@

lock: .venv/.ready  ## choose the newest allowed versions and lock them by hash, without addresses
	$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate \
	  $(foreach p,rembuk rembuk-reports rembuk-forums rembuk-notifications rembuk-hub,--no-emit-package $(p)) \
	  cli/pyproject.toml requirements-dev.in -o requirements.txt
	@awk '/^uv==/{p=1} p{print} p && !/\\$$/{exit}' requirements.txt > requirements-uv.txt

areas: setup  ## compile shared/rembuk/areas/areas.bin again from npm's idn-area-data 4.0.1
	@from=$$(mktemp -d) && trap 'rm -rf "$$from"' EXIT && \
	  npm pack --silent --pack-destination "$$from" idn-area-data@4.0.1 >/dev/null && \
	  $(BIN)/python -m rembuk.areas.compile "$$from/idn-area-data-4.0.1.tgz"

demo: setup  ## start a region and play the Polmas story on real areas; make stop ends it
	@$(BIN)/rembuk demo

up: setup  ## start a region without the story
	@$(BIN)/rembuk up --detach

stop: setup  ## stop the region; its data stays in .rembuk
	@$(BIN)/rembuk down

test: setup  ## run every test but the drills and those that need a container engine
	$(BIN)/pytest -n 4 $(BY_FILE)

test-drills: setup  ## bring about every disaster of the runbook; kill every process and server under load
	$(BIN)/pytest -m drills -n 4 $(BY_FILE)

test-soak: setup  ## kill every process under load, ten times in a row
	@for round in 1 2 3 4 5 6 7 8 9 10; do \
	  echo "round $$round of 10"; \
	  $(BIN)/pytest -m drills -n 2 --dist load tests/system/test_crashes.py tests/system/test_outages.py || exit 1; \
	done

test-partitions: setup  ## cut, stall, slow down or kill what joins regions to their hub, ten times in a row
	@for round in 1 2 3 4 5 6 7 8 9 10; do \
	  echo "round $$round of 10"; \
	  $(BIN)/pytest -m drills tests/hub/test_partitions.py || exit 1; \
	done

test-containers: setup  ## run the kernel's suite and one journey against PostgreSQL and NATS in containers
	@timeout 10 docker info >/dev/null 2>&1 || { echo "make test-containers: no container engine answers; .ci/start-engine may bring one up"; exit 1; }
	@images=$$(.ci/images) && export REMBUK_TEST_CONTAINERS=1 $$images && $(BIN)/pytest -m containers -n 3 $(BY_FILE) --maxfail 3 tests/containers tests/shared

check: setup  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy shared services/reports services/forums services/notifications services/hub cli
	$(BIN)/lint-imports --no-logo

bench: setup  ## do the same work as the peers in one run: table and chart into bench/
	$(BIN)/python -m bench

bench-tiny: setup  ## run every measure with little of everything: it fails where a measure does
	$(BIN)/python -m bench --tiny

docs: setup  ## write docs/events.md, docs/settings.md, the JSON Schemas, their bundle and docs/asyncapi.yaml from the contracts
	$(BIN)/python -m rembuk.contracts.document > docs/events.md
	$(BIN)/python -m rembuk.operations.settings_page > docs/settings.md
	$(BIN)/python -m rembuk.contracts.schemas
	$(BIN)/python -m rembuk.contracts.bundle > docs/events.schema.json
	$(BIN)/python -m rembuk.contracts.asyncapi tests/contracts > docs/asyncapi.yaml

format: setup  ## let ruff put the code in order
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .
