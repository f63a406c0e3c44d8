# Everything a developer types. `make` alone lists it.

VENV := .venv
PYTHON := $(VENV)/bin/python
# More arguments for pytest: make test PYTEST_ARGS="-k hello -x"
PYTEST_ARGS ?=
# More arguments for the benchmarks: make bench BENCH_ARGS="--only hello --seconds 2 --rounds 3"
BENCH_ARGS ?=
# What is compiled where there is a compiler (see setup.py)
HOT := $(shell find pyfpm -name '*.pxd')
HOT := $(HOT) $(HOT:.pxd=.py)
# What the second run of `make test`, in the plain form, consists of
PLAIN_TESTS := tests/unit tests/conformance tests/fuzz \
  $(addprefix tests/integration/test_,applications.py wsgi_rules.py web_servers.py parked_connections.py)
# KEEP=1 puts the results of make bench into docs/explanation
KEEP ?=
# The dice of make chaos and make fuzz: what they rolled is printed, and SEED=… rolls it again
SEED ?= $(shell date +%s)
# How long make fuzz searches, all in all, and an input of tests/fuzz/corpus to be run once more instead
SECONDS ?= 600
INPUT ?=

.PHONY: help run test compiled chaos fuzz check packages examples pools bench clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1    \2/p' $(MAKEFILE_LIST)

run: $(VENV)/.installed compiled ## serve examples/hello.py, through nginx where it is installed
	@$(PYTHON) scripts/serve_hello.py

# The plain run may have nothing to do (5) where PYTEST_ARGS name a test that is not in it.
test: packages check compiled ## lint, types and the whole test suite, in both forms
	$(PYTHON) -m pytest $(PYTEST_ARGS)
	PYFPM_PURE=1 $(PYTHON) -m pytest $(PLAIN_TESTS) $(PYTEST_ARGS) || [ $$? = 5 ]

compiled: $(VENV)/.compiled ## build the compiled form, where there is a compiler

chaos: packages $(VENV)/.installed-test compiled ## kill, starve, reload and upgrade under load, long: SEED=7 repeats a run
	PYFPM_CHAOS_LONG=1 PYFPM_CHAOS_SEED=$(SEED) $(PYTHON) -m pytest tests/chaos $(PYTEST_ARGS)

fuzz: $(VENV)/.installed-test $(VENV)/.fuzz-tools compiled ## search for inputs that break something, 10 minutes: SECONDS=60 SEED=7
	@PYTHONPATH=tests:. $(PYTHON) -m fuzz --seconds='$(SECONDS)' --seed='$(SEED)' $(if $(INPUT),--input $(INPUT))

check: $(VENV)/.installed-test ## lint, format and types only
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

packages: ## what the tests need from Debian or Ubuntu (installs as root, else names it)
	@scripts/install-packages

examples: $(VENV)/.installed build/django-venv/.installed ## what the Flask and Django pools need
	@$(VENV)/bin/pip install --quiet -r examples/flask_site/requirements.txt

pools: examples compiled ## serve every pool in pools.d
	$(VENV)/bin/pyfpm -c scripts/all-pools.conf start

bench: $(VENV)/.installed-test compiled ## install the peers and measure all side by side, as root: 20 minutes
	$(PYTHON) -m benchmarks $(if $(KEEP),--keep) $(BENCH_ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist run *.egg-info pyfpm/_compiled.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# The stamps make the second run quick; pyproject.toml names the dependencies. The editable install
# leaves compiling to .compiled, which has its own tools and is due more often.
$(VENV)/.installed: pyproject.toml scripts/venv
	@PYFPM_COMPILE=no scripts/venv $(VENV) --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml scripts/venv
	@PYFPM_COMPILE=no scripts/venv $(VENV) --editable '.[test]'
	@touch $(VENV)/.installed $@

$(VENV)/.build-tools: pyproject.toml scripts/venv
	@scripts/venv $(VENV) 'Cython>=3.1' 'setuptools>=77'
	@touch $@

# libFuzzer for Python. It has wheels for some interpreters only, and the search does without it.
$(VENV)/.fuzz-tools: pyproject.toml scripts/venv
	@scripts/venv $(VENV) --only-binary :all: atheris \
	  || echo "fuzz: atheris does not install here (above): the search of tests/fuzz does it alone"
	@touch $@

# In continuous integration a compiled form that cannot be built is a failure.
$(VENV)/.compiled: $(VENV)/.build-tools setup.py $(HOT)
	@PYFPM_COMPILE=$(if $(CI),required) $(PYTHON) setup.py --quiet build_ext --inplace
	@touch $@

build/django-venv/.installed: examples/django_site/requirements.txt scripts/venv
	@scripts/venv build/django-venv --requirement $<
	@touch $@
