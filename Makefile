# Everything a newcomer needs is `make demo` and `make test`; both set up a private environment in .venv first.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INTEROP := .venv-interop
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# One worker per core; up to three tests that fail so are run once more, each alone, and named (tools/run_tests.py says why).
PYTEST := $(BIN)/python -m tools.run_tests
# `make test COVERAGE=1` also measures branch coverage of the package; it takes about half as long again.
COVER := $(if $(COVERAGE),--cov=verifai --cov-branch --cov-report=term:skip-covered,)

.PHONY: help setup demo test test-tutorials site test-torch test-boosters test-evm test-ray test-js test-interop test-slow verifier-js evidence-page fuzz lint types imports docs docs-write check bench image clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("verifai needs Python 3.11 or newer; set PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(STAMP) ## create .venv with the locked development environment

demo: $(STAMP) ## the whole tour: a real model exported, compiled, proven, verified, tampered with and refused
	$(BIN)/verifai demo

test: $(STAMP) ## all tests that need neither PyTorch, nor Node.js, nor minutes of computation
	@echo "Not run here: tests marked 'torch' (make test-torch), 'boosters' (make test-boosters), 'evm' (make test-evm), 'js' (make test-js), 'ray' (make test-ray), 'interop' (make test-interop), 'tutorials' (make test-tutorials) and 'slow' (make test-slow)."
	$(PYTEST) $(COVER) -m "not torch and not evm and not boosters and not js and not ray and not interop and not tutorials and not slow"

test-boosters: $(STAMP) ## the tests that need XGBoost, LightGBM and CatBoost (installs them)
	$(PIP) install -c constraints.txt -e '.[boosters,catboost]'
	$(PYTEST) -m "boosters and not slow"

test-torch: $(STAMP) ## the tests that need PyTorch (installs it)
	$(PIP) install -c constraints.txt 'torch==2.13.0' onnxscript 'transformers==5.24.0'
	$(PYTEST) -m "torch and not slow"

test-evm: $(STAMP) ## the on-chain check of ezkl proofs; needs Node.js, installs solc below tools/evm and the extra evm
	$(PIP) install -c constraints.txt -e '.[evm]'
	@if command -v npm >/dev/null; then npm ci --prefix tools/evm --ignore-scripts --no-audit --no-fund --fetch-timeout=60000; \
	else echo 'npm is not here, so the contract cannot be compiled: its tests are skipped, saying so'; fi
	$(PYTEST) -m "evm and not slow"

verifier-js: ## build the second verifier (needs Node.js 20 or newer and npm)
	npm ci --prefix verifier-js --ignore-scripts --no-audit --no-fund --fetch-timeout=60000
	npm run --prefix verifier-js build

evidence-page: verifier-js ## take the built evidence page into the package
	cp verifier-js/dist/page.html verifai/reports/evidence_page.html

test-js: $(STAMP) verifier-js ## the second verifier: types, lint, its own tests, and the tests that run it beside the first
	@command -v chromium >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } \
	|| echo 'Chromium is not here and cannot be installed: the tests that open the evidence page are skipped, saying so'
	npm run --prefix verifier-js types
	npm run --prefix verifier-js lint
	npm run --prefix verifier-js test
	$(PYTEST) -m "js and not slow"

test-interop: $(STAMP) ## other projects' tools and servers beside this program (installs them apart)
	test -x $(INTEROP)/bin/python || $(BIN)/python -m venv $(INTEROP)
	@parent=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])'); \
	own=$$($(INTEROP)/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])'); \
	echo "import site; site.addsitedir('$$parent')" > "$$own/zz_parent.pth"
	$(INTEROP)/bin/python -m pip --disable-pip-version-check -q install -r tools/interop-requirements.txt
	@cd $(INTEROP) && { test -x registry/usr/bin/docker-registry || { command -v apt-get >/dev/null && \
	{ apt-get download -q docker-registry || { apt-get update -q && apt-get download -q docker-registry; }; } && \
	dpkg -x docker-registry_*.deb registry; }; } \
	|| echo 'docker-registry cannot be had here: the tests that run it are skipped, saying so'
	$(INTEROP)/bin/python -m tools.run_tests -m "interop and not slow" tests/interop

test-ray: $(STAMP) ## batches on a Ray cluster of several node processes (installs it)
	$(PIP) install -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest -m "ray and not slow" -q tests/ray

test-slow: $(STAMP) ## the tests that take minutes, and properties on examples that nobody has seen
	$(PYTEST) -m slow --timeout 7200 -o faulthandler_timeout=7260
	$(BIN)/python -m pytest -n auto --dist loadfile -m "hypothesis and not torch and not evm and not boosters and not js and not ray and not interop" --hypothesis-profile=search

test-tutorials: $(STAMP) ## the pages of docs/tutorials, executed from their own text
	$(PYTEST) -m "tutorials and not torch and not slow"

site: $(STAMP) ## the documentation site, into build/site (installs mkdocs-material)
	$(PIP) install -c constraints.txt -e '.[site]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q
	@echo "site: build/site/index.html"

fuzz: $(STAMP) ## every parser, coverage-guided, a fixed number of runs (installs atheris)
	$(PIP) install -c constraints.txt -e '.[fuzz]' || echo 'atheris has no wheel here: mutating without coverage'
	$(BIN)/python -m tests.fuzz.fuzz_run

lint: $(STAMP) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

imports: $(STAMP) ## the layers of docs/architecture.md
	$(BIN)/lint-imports

docs-write: $(STAMP) ## regenerate the generated pages
	$(BIN)/python -m tools.docs

docs: $(STAMP) ## generated pages are current, links resolve
	$(BIN)/python -m tools.docs --check

check: lint types imports test docs ## the whole quality gate

bench: $(STAMP) ## measure the engines on this machine (minutes)
	$(BIN)/verifai bench --json > bench.json

DOCKER ?= docker
image: ## the two images of the Dockerfile, verifai (everything) and verifai-auditor; needs Docker, or DOCKER=podman
	@command -v $(DOCKER) >/dev/null || { echo "$(DOCKER) is not here: install it, or set DOCKER=podman" >&2; exit 1; }
	$(DOCKER) build --target toolkit -t verifai .
	$(DOCKER) build --target auditor -t verifai-auditor .

clean: ## remove the environment and everything built
	rm -rf $(VENV) $(INTEROP) circuits/*/build demo-out
