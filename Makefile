# Everything runs in .venv, made from requirements.lock by the first target that needs it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# A process for each core, with one thread; what shares a file shares its fixtures, too.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile

# Compiled modules are kept, whatever the environment says, as those of containers often do: without
# them every process would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

# nnU-Net lies in an environment of its own, outside of this folder.
NNUNET ?= $(HOME)/.cache/mass3d/nnunet

.PHONY: help demo test check bench docs page nnunet

help: ## say what can be made
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/'

# Modules are compiled when they are first imported, which few of them ever are.
$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --no-compile -r requirements.lock
	$(BIN)/pip install --no-deps -e .
	touch $@

demo: $(STAMP) ## run every verb on made-up scans, report in demo/
	$(BIN)/mass3d demo -o demo

test: $(STAMP) ## the tests that need no GPU
	$(PYTEST) -m "not gpu"

check: $(STAMP) ## the gate: style, types, tests and how much of the code they reach
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini
	$(PYTEST) --cov

bench: $(STAMP) ## run each benchmark in turn
	@set -e; for script in benchmarks/*.py; do \
		[ -e "$$script" ] || continue; \
		echo "== $$script"; $(BIN)/python "$$script"; \
	done

docs: $(STAMP) ## the site of all pages and the API, in build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

page: ## the page of `mass3d serve` from web/ (needs npm), in src/mass3d/server/page
	cd web && npm ci && npm run check && npm test && npm run build

nnunet: $(STAMP) ## the tests that really run nnU-Net, which is installed for them
	$(BIN)/python -m venv $(NNUNET)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$($(NNUNET)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/torch-of-mass3d.pth"
	$(NNUNET)/bin/pip install --no-compile --no-deps -r tests/nnunet/requirements.txt
	MASS3D_NNUNET=$(NNUNET) $(BIN)/pytest -rA tests/nnunet
