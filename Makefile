# Everything a developer types. `make` alone lists it.

VENV := .venv
PYTHON := $(VENV)/bin/python
# More arguments for pytest: make test PYTEST_ARGS="-k hello -x"
PYTEST_ARGS ?=
BENCH_ARGS ?=
# The dice of make chaos: what it rolled is printed, and SEED=… rolls it again
SEED ?= $(shell date +%s)

.PHONY: help run test chaos check packages examples pools bench clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1    \2/p' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## serve examples/hello.py, through nginx where it is installed
	@$(PYTHON) scripts/serve_hello.py

test: packages check ## lint, types and the whole test suite
	$(PYTHON) -m pytest $(PYTEST_ARGS)

chaos: packages $(VENV)/.installed-test ## kill, starve, reload and upgrade under load, long: SEED=7 repeats a run
	PYFPM_CHAOS_LONG=1 PYFPM_CHAOS_SEED=$(SEED) $(PYTHON) -m pytest tests/chaos $(PYTEST_ARGS)

check: $(VENV)/.installed-test ## lint, format and types only
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

packages: ## what the tests need from Debian or Ubuntu (installs as root, else names it)
	@scripts/install-packages

examples: $(VENV)/.installed build/django-venv/.installed ## what the Flask and Django pools need
	@$(VENV)/bin/pip install --quiet -r examples/flask_site/requirements.txt

pools: examples ## serve every pool in pools.d
	$(VENV)/bin/pyfpm -c scripts/all-pools.conf start

bench: $(VENV)/.installed-test ## measure against uWSGI behind one nginx; takes minutes
	$(PYTHON) benchmarks/hello_vs_uwsgi.py $(BENCH_ARGS)
	$(PYTHON) benchmarks/kept_vs_closed.py $(BENCH_ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist run *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# The stamps make the second run quick; pyproject.toml names the dependencies.
$(VENV)/.installed: pyproject.toml scripts/venv
	@scripts/venv $(VENV) --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml scripts/venv
	@scripts/venv $(VENV) --editable '.[test]'
	@touch $(VENV)/.installed $@

build/django-venv/.installed: examples/django_site/requirements.txt scripts/venv
	@scripts/venv build/django-venv --requirement $<
	@touch $@
