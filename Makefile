# The work is done by scripts/, so that it is the same from any shell and can be tested.
.DEFAULT_GOAL := help
.PHONY: help setup lab test clean

# The Python that starts things; a suitable one for the environment is looked for from there.
PYTHON ?= python3
VENV := $(or $(WORKBENCH_VENV),.venv)

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## */  make \1  /p' $(MAKEFILE_LIST)

setup:  ## make .venv with the exact tested versions (quick when nothing changed)
	@$(PYTHON) scripts/make_environment.py

lab: setup  ## set up, then JupyterLab on the first notebook with the bundled demo model
	@$(VENV)/bin/workbench lab

test:  ## set up with the test tools, then run every check and test
	@$(PYTHON) scripts/run_checks.py

clean:  ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache widgets/node_modules
