# Every target sets itself up: `make demo` or `make test` on a fresh clone needs Python 3.11 or newer, and nothing else.
# Another Python is chosen with `make test PYTHON=python3.12`.

ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python,$(shell $(p) -c '$(ENOUGH)' 2>/dev/null && echo $(p))))

VENV := .venv
BIN := $(VENV)/bin
# The tests run side by side, each on one thread; `make test JOBS=8` where there are more cores.
JOBS ?= 2

EXTRAS := hub,nets,onnx,lightning,peft,pretrained,sweep,ray,slurm,track,test
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-slow lint check bench faults proof docs gpu release
.DELETE_ON_ERROR:

help:
	@echo 'make demo       learn five tasks of handwritten digits with several approaches and compare them'
	@echo 'make test       the tests, but for the slow ones'
	@echo 'make test-slow  the slow tests alone'
	@echo 'make lint       ruff and pyright'
	@echo 'make check      lint and test'
	@echo 'make bench      the benchmarks'
	@echo 'make proof      some sixty small runs: the bits of their results are those written down (or, with AGAINST=REV, that commit'\''s)'
	@echo 'make gpu        the tests that need a GPU; SLICE=2/6 make gpu runs the second of six slices'
	@echo 'make docs       the documentation as pages in build/site'
	@echo 'make release    check version, changelog and tag, and build wheel and sdist in dist/'
	@echo 'make faults     kill runs, damage checkpoints, fill disks: nothing may be lost'

demo: $(VENV)/core.stamp
	$(BIN)/hypermnesia compare split-digits finetune hnet phn hypermask hcr joint infer=entropy,fecam train.threads=1 --out runs/demo
	$(BIN)/hypermnesia report runs/demo -o '$(CURDIR)/report.html'

test: $(VENV)/test.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

test-slow: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

check: lint test

bench: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks

proof: $(VENV)/test.stamp
	$(BIN)/python tests/proof/prove.py $(if $(AGAINST),--against $(AGAINST))

gpu: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m cuda tests/gpu

docs: $(VENV)/docs.stamp
	$(BIN)/mkdocs build

release: $(VENV)/test.stamp
	$(BIN)/python .github/release.py

faults: $(VENV)/test.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) tests/faults -m ''

# A stamp is as new as the files that its installation read, so nothing is installed twice.

$(VENV)/venv.stamp:
	@$(if $(PYTHON),$(PYTHON) -c '$(ENOUGH)' || )\
	{ echo 'Python 3.11 or newer is needed and was not found; name one: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/core.stamp: pyproject.toml constraints.txt | $(VENV)/venv.stamp
	$(INSTALL) -e .
	touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt | $(VENV)/venv.stamp
	$(INSTALL) -e '.[$(EXTRAS)]'
	touch $(VENV)/core.stamp $@

$(VENV)/docs.stamp: pyproject.toml constraints.txt | $(VENV)/core.stamp
	$(INSTALL) -e '.[docs]'
	touch $@
