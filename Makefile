# make alone prints what there is to make.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench ui docs lock clean
.DELETE_ON_ERROR:

BIN := .venv/bin
READY := .venv/.ready
ARGS ?=
# ray up's schema, KubeRay's and Kubernetes', compose's and Hadolint, ShellCheck.
CLUSTER_CHECKS := ray_up.py kubernetes.py images.py scripts.py

help: ## print this
	@echo "make TARGET [ARGS=...]      each sets up .venv first where that is needed"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## the main job: tune a network on digits, every trial and model in MLflow
	@$(BIN)/nnray sweep jobs/digits.yaml $(ARGS)
	@echo "            (nnray is in $(BIN); here, make ui opens it too)"

test: $(READY) ## run every test (ARGS=...: those that pytest is told of)
	@$(BIN)/python $(if $(strip $(ARGS)),-m pytest $(ARGS),tests/all.py)

check: $(READY) ## format, lint, types, layers, cluster files and docs in one
	@echo "== format"; $(BIN)/ruff format --check .
	@echo "== lint"; $(BIN)/ruff check .
	@echo "== types"; $(BIN)/mypy
	@echo "== layers"; $(BIN)/pytest -q tests/test_layers.py
	@echo "== cluster"; $(BIN)/pytest -q --durations=0 --durations-min=60 $(addprefix tests/cluster/test_,$(CLUSTER_CHECKS))
	@echo "== docs"; NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(READY) ## measure speed; each script prints its ratio to a baseline of the same run
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script $(ARGS) || exit 1; done

ui: $(READY) ## open MLflow's UI on the store of this folder
	@$(BIN)/nnray ui $(ARGS)

docs: $(READY) ## serve the documentation
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

lock: $(READY) ## pin all dependencies anew from pyproject.toml (ARGS=--upgrade: at their newest)
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements.lock $(ARGS)
	@echo "requirements.lock pins $$(grep -c '^[a-z].*==' requirements.lock) packages"

clean: ## remove caches and the built site; .venv, runs and mlflow.db are kept
	@rm -rf site build nnray.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find nnray tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Again only when a pin or the project's own metadata change. uv comes out of the lock, too.
$(READY): requirements.lock pyproject.toml
	@python=""; for name in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if test -z "$$python"; then \
		echo "nnray needs Python 3.11 or newer; python3 here is: $$(python3 --version 2>&1 || true)." >&2; \
		echo "Install a newer one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; \
	fi; \
	echo "Setting up .venv with $$($$python --version): a few GB of packages, once."; \
	test -x $(BIN)/python || $$python -m venv .venv || { \
		echo "$$python can't make a virtual environment: install its venv module (Debian: python3-venv)." >&2; exit 1; }
	@awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' requirements.lock > .venv/uv.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
