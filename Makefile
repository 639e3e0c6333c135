# `make repro` and `make test` each take a fresh clone on a machine with Python 3.11, git and make to its end.

STAMP := .venv/.installed
RAY := .venv/.ray-installed
S3 := .venv/.s3-installed
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"

export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.DEFAULT_GOAL := help
.PHONY: help repro test lint format deps clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

repro: $(STAMP) ## bring every output up to date: data, models, metrics and reports/index.html
	$(IN_VENV) dvc repro

# Three workers even on two cores: tests wait for the processes that they start half of the time.
test: lint $(RAY) $(S3) ## lint, then run every test
	$(IN_VENV) pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(STAMP) ## check style and format
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .

format: $(STAMP) ## put style and format right where a tool can
	$(IN_VENV) ruff check --fix .
	$(IN_VENV) ruff format .

deps: $(STAMP) ## list in dvc.yaml the modules that each stage imports now
	$(IN_VENV) python -m tests.dag

clean: ## remove the virtual environment and the tools' caches, no data
	rm -rf .venv .pytest_cache .ruff_cache

# The stamp is written last, so that an installation cut short is made again from the start.
$(STAMP): requirements.lock.txt
	@for python in python3.11 python3; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        set -x; \
	        $$python -m venv --clear .venv && \
	        .venv/bin/python -m pip install --disable-pip-version-check -r $< && \
	        touch $@; \
	        exit; \
	    fi; \
	done; \
	echo "make: Python 3.11 or newer is needed, as python3.11 or python3 on the PATH" >&2; \
	exit 1

# The optional extras, for their tests.
$(RAY): requirements.ray.lock.txt $(STAMP)
$(S3): requirements.s3.lock.txt $(STAMP)
$(RAY) $(S3):
	.venv/bin/python -m pip install --disable-pip-version-check -r $<
	touch $@
