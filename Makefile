# Each target is the command of the same name; without make: python -m crmlab VERB
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: run test lab build bench setup lock conda help
run test lab build bench setup lock conda help:
	@$(PYTHON) -m crmlab $@ $(ARGS)
