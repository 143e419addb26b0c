PYTHON ?= python3
VENV ?= .venv
PINS ?= constraints.txt
NEEDS ?= requirements.txt requirements-test.txt
PY := $(VENV)/bin/python
# What the commands do is in make.py, which also runs where there is no make.
RUN := $(PYTHON) make.py --venv $(VENV) --pins $(PINS) --needs "$(NEEDS)"
DATASET ?= $(SEGLIB_DATASET)
BACKEND ?= $(or $(KERAS_BACKEND),tensorflow)

export PYTHONHASHSEED := 0
export TF_CPP_MIN_LOG_LEVEL ?= 3

# TensorFlow uses all processors, so one thing runs at a time, whatever -j says.
.NOTPARALLEL:
.PHONY: help setup course site test check test-all test-oldest test-colab lint assignments slides demo colab bench clean

help: ## lists these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: ## installs everything into .venv (PYTHON=python3.12 chooses the interpreter)
	@$(RUN) setup

course: setup ## runs the lessons and writes build/course/index.html, appendices as committed (DATASET=oxford_iiit_pet, BACKEND=jax or torch)
	@SEGLIB_DATASET="$(DATASET)" KERAS_BACKEND="$(BACKEND)" $(PY) notebooks/course.py

site: ## writes the same pages from the outputs as committed, into build/site, and runs no lesson
	@$(RUN) site

test: ## lint, unit tests and the notebooks' outputs: what CI runs
	@$(RUN) test

check: ## lint and the fast unit tests, for while you edit
	@$(RUN) check

# The GPU settings under JAX, which then compiles fast and computes slowly: two steps do not repay the other way.
test-all: test test-oldest test-colab ## and the oldest versions, Colab's, the GPU settings on this processor under JAX, long tests
	@$(RUN) pytest -m long tests
	@KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(PY) notebooks/course.py --walk

test-oldest: setup ## unit tests and notebooks in .venv-oldest with the oldest versions; models between these and the newest
	@$(MAKE) --no-print-directory VENV=.venv-oldest PINS=constraints-oldest.txt setup
	@$(PY) tests/saved_models.py write build/newest && .venv-oldest/bin/python tests/saved_models.py open build/newest
	@.venv-oldest/bin/python tests/saved_models.py write build/oldest && $(PY) tests/saved_models.py open build/oldest
	@$(MAKE) --no-print-directory VENV=.venv-oldest PINS=constraints-oldest.txt test

test-colab: setup ## runs each lesson from its first cell in .venv-colab, which has what Colab has (FULL=1: long trainings)
	@$(PY) tests/rehearsal.py $(if $(FULL),--full)

lint: ## ruff: style and formatting, notebooks included
	@$(RUN) lint

assignments: ## lays the exercises out for nbgrader in build/assignments
	@$(RUN) assignments

slides: ## writes slides of the marked figures of lessons 04 and 07, as committed, to build/slides
	@$(RUN) slides

demo: ## serves a page on which a model names the pixels of your photo (MODELS=folder: your own .keras files)
	@$(MAKE) --no-print-directory VENV=.venv-demo PINS=constraints-demo.txt NEEDS=requirements-demo.txt setup
	@.venv-demo/bin/python -m seglib.demo $(if $(MODELS),--models "$(MODELS)")

colab: ## writes the repository's address into the notebooks: make colab REPO=owner/name
	@$(PYTHON) notebooks/colab.py "$(REPO)"

bench: ## lists the scripts that measure this code against others, and how to run each
	@$(PYTHON) -c 'import ast, glob; [print(f"{p}\n{ast.get_docstring(ast.parse(open(p).read())) or str()}\n") \
		for p in sorted(glob.glob("bench/*.py"))] or print("bench/ has no scripts yet")'

clean: ## deletes what the commands made: build, caches, virtual environments (not data)
	@rm -rf build .venv .venv-oldest .venv-colab .venv-demo .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
