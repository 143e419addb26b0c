PYTHON ?= python3
VENV ?= .venv
PINS ?= constraints.txt
NEEDS ?= requirements.txt requirements-test.txt
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -q
STAMP := $(VENV)/.installed
DATASET ?= $(SEGLIB_DATASET)

export PYTHONHASHSEED := 0
export TF_CPP_MIN_LOG_LEVEL ?= 3

# TensorFlow uses all processors, so one thing runs at a time, whatever -j says.
.NOTPARALLEL:
.PHONY: help setup course test check test-all test-oldest lint demo colab bench clean

help: ## lists these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## installs everything into .venv (PYTHON=python3.12 chooses the interpreter)

$(STAMP): $(NEEDS) $(PINS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { echo \
		"this course needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is: $$($(PYTHON) --version 2>&1 | tail -n 1)"; \
		echo "name another one, for example: make setup PYTHON=python3.12"; exit 1; }
	@echo "setting up $(VENV) from $(PINS) (1-3 minutes)..."
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	@$(PIP) install $(addprefix -r ,$(NEEDS)) -c $(PINS)
	@$(PIP) install --no-deps -e . && touch $(STAMP) && echo "$(VENV) is ready"

course: setup ## runs all lessons and writes build/course/index.html (DATASET=oxford_iiit_pet: on another dataset)
	@SEGLIB_DATASET="$(DATASET)" $(PY) notebooks/course.py

# Two tests at a time, each with one thread of every library; lessons that build on each other run in one worker.
PYTEST := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 SEGLIB_PROFILE=cpu SEGLIB_DATASET= \
	$(PY) -m pytest -q -n 2 --dist loadfile
NBVAL := --nbval --nbval-current-env notebooks

test: lint ## lint, unit tests and the notebooks' outputs: what CI runs
	@echo "unit tests and the notebooks' outputs..." && $(PYTEST) -m "not long" tests $(NBVAL)

check: lint ## lint and the fast unit tests, for while you edit
	@$(PYTEST) -m "not slow and not long" tests

test-all: test test-oldest ## and the oldest versions, the GPU settings on this processor, the long tests
	@$(PYTEST) -m long tests
	@$(PY) notebooks/course.py --walk

test-oldest: setup ## unit tests and notebooks in .venv-oldest with the oldest versions; models between these and the newest
	@$(MAKE) --no-print-directory VENV=.venv-oldest PINS=constraints-oldest.txt setup
	@$(PY) tests/saved_models.py write build/newest && .venv-oldest/bin/python tests/saved_models.py open build/newest
	@.venv-oldest/bin/python tests/saved_models.py write build/oldest && $(PY) tests/saved_models.py open build/oldest
	@$(MAKE) --no-print-directory VENV=.venv-oldest PINS=constraints-oldest.txt test

lint: setup ## ruff: style and formatting, notebooks included
	@$(PY) -m ruff check -q . && $(PY) -m ruff format -q --check . && echo "lint: no findings"

demo: ## serves a page on which a model names the pixels of your photo (MODELS=folder of .keras files)
	@$(MAKE) --no-print-directory VENV=.venv-demo PINS=constraints-demo.txt NEEDS=requirements-demo.txt setup
	@.venv-demo/bin/python -m seglib.demo $(if $(MODELS),--models "$(MODELS)")

colab: ## writes the repository's address into the notebooks: make colab REPO=owner/name
	@$(PYTHON) notebooks/colab.py "$(REPO)"

bench: ## lists the scripts that measure this code against others, and how to run each
	@$(PYTHON) -c 'import ast, glob; [print(f"{p}\n{ast.get_docstring(ast.parse(open(p).read())) or str()}\n") \
		for p in sorted(glob.glob("bench/*.py"))] or print("bench/ has no scripts yet")'

clean: ## deletes what the commands made: build, caches, virtual environments (not data)
	@rm -rf build .venv .venv-oldest .venv-demo .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
