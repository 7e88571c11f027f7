# Each target is the command of the same name; without make: python -m crmlab VERB
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: run test lab build bench handout grade setup doctor lock conda help
run test lab build bench handout grade setup doctor lock conda help:
	@$(PYTHON) -m crmlab $@ $(ARGS)
# make handout ARGS="05_retention --roster roster.csv --out sheets";  make grade ARGS="handed-in --roster roster.csv --out marks"
# make present STEM=05_retention;  make diff-lock OLD=old.lock NEW=requirements.lock
.PHONY: present diff-lock
present:
	@$(PYTHON) -m crmlab present $(STEM)
diff-lock:
	@$(PYTHON) -m crmlab diff-lock $(OLD) $(NEW) $(STEM)
