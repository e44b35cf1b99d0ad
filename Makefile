# make demo, test, slow, long, reproduce, newest, check, clean: all but newest in
# .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cksum setup.py | cut -d' ' -f1)
TEST_STAMP := $(VENV)/.tests-$(shell cksum setup.py | cut -d' ' -f1)
PYTEST := -m pytest -n 2 --dist worksteal
FAST := not slow and not long and not gpu
# What compares bits, meshes and published answers. The suite runs without most
# of XLA's optimisations; these run with all of them as well.
EXACT := tests/models/test_golden.py tests/train/test_resume.py \
  tests/train/test_step.py tests/train/test_mixed_step.py \
  tests/train/test_sharding.py tests/train/test_repeats.py
# The newest Python that is installed, on the path or under pyenv.
NEWEST_PYTHON ?= $(shell for v in 3.13 3.12; do \
  for p in python$$v $$HOME/.pyenv/versions/$$v.*/bin/python; do \
  $$p -c '' 2>/dev/null && echo $$p && exit; done; done)
NEWEST := .venv-newest

.PHONY: demo test check slow long reproduce newest clean

demo: $(STAMP)
	$(BIN)/vidmodels demo --out demo

test: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python $(PYTEST) -m "$(FAST)"

slow: $(TEST_STAMP)
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python $(PYTEST) -m "not gpu and not long" $(EXACT)
	$(BIN)/python $(PYTEST) -m "slow and not long and not gpu" $(EXACT:%=--ignore=%)

# What fast and slow tests leave out: more cases of the same tests.
long: $(TEST_STAMP)
	$(BIN)/python $(PYTEST) -m "long and not gpu"

# Eight claims of the papers at a laptop's size. SEEDS=3 for the spread.
SEEDS ?= 1
reproduce: $(STAMP)
	$(BIN)/python -m experiments.reproduce --seeds=$(SEEDS) --jobs=2 \
	  --out=runs/experiments/reproduction.md

# The fast lane with the newest releases that setup.py admits.
newest:
	@test -n "$(NEWEST_PYTHON)" || { echo "got no Python 3.13 or 3.12;" \
	  "try make newest NEWEST_PYTHON=/path/to/python"; exit 1; }
	$(NEWEST_PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check \
	  --upgrade --upgrade-strategy eager -e '.[test]'
	$(NEWEST)/bin/python $(PYTEST) -m "$(FAST)"

check: $(TEST_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(TEST_STAMP):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile \
	  -e '.[test]'
	touch $(STAMP) $@

clean:
	rm -rf $(VENV) $(NEWEST) demo build dist *.egg-info .pytest_cache .ruff_cache
