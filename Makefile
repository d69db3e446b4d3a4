# Everything is done by scripts/, so that it is the same from any shell and testable.
.DEFAULT_GOAL := help
.PHONY: help setup lab test check clean

BOOTSTRAP ?= python3

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## */  make \1\t/p' $(MAKEFILE_LIST)

setup:  ## make .venv with the exact tested versions (quick when nothing changed)
	@$(BOOTSTRAP) scripts/setup.py

lab: setup  ## set up, then JupyterLab on the first notebook with the bundled demo model
	@.venv/bin/workbench lab

test:  ## set up with the test tools, then run every check and test
	@$(BOOTSTRAP) scripts/check.py

clean:  ## remove .venv and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache widgets/node_modules
