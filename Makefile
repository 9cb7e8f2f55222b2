# Every command of the project. The first one that needs Python makes .venv; the second installs nothing.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# One thread per process: small networks are faster that way, and test workers do not fight over the cores.
export OMP_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := .venv/bin
STAMP := .venv/.installed
STATE_FOLDER = $${CAPPUCCINO_STATE:-data_lake}
STAGES := bars features datasets encoders studies comparisons experiments refits verdicts models trading current mlflow dagster reports examples evidence

.PHONY: help demo test test-slow soak check evidence ui doctor clean-state

help: ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1|/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(STAMP) ## the whole chain on simulated bars, without network or keys
	@$(BIN)/cappuccino demo

test: $(STAMP) ## the tests, except the slow ones
	@$(BIN)/pytest -m "not slow" -n logical --maxprocesses 4 --dist loadfile

test-slow: $(STAMP) ## the slow tests: real processes, browser, longer training
	@$(BIN)/pytest -m slow

soak: $(STAMP) ## 10,000 bars of paper trading with random faults and kills: nothing doubled, nothing lost, one book
	@$(BIN)/python -m tests.trading.soak --bars 10000

check: $(STAMP) ## style, types and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

evidence: $(STAMP) ## the gate tested: size and power, a cheater, forty small studies; BARS=folder for real bars; an hour
	@$(BIN)/python -m benchmarks.calibration
	@$(BIN)/python -m benchmarks.cheater
	@$(BIN)/python -m benchmarks.small_studies --state "$(STATE_FOLDER)/evidence" $(if $(BARS),--bars "$(BARS)")

ui: $(STAMP) ## Dagster and MLflow in the browser, on 127.0.0.1; Ctrl-C stops both
	@exec $(BIN)/cappuccino ui

doctor: $(STAMP) ## ten lines on the state of everything
	@$(BIN)/cappuccino doctor

clean-state: ## remove everything that was made (asks first); the source stays
	@echo "This removes $(STAGES) below $(STATE_FOLDER), the paper trader's ledger included."
	@read -r -p "Type yes to go on: " answer; [ "$$answer" = yes ] || { echo "Nothing was removed."; exit 1; }
	@cd "$(STATE_FOLDER)" && rm -rf -- $(STAGES) alerts.jsonl && echo "Removed."

$(STAMP): pyproject.toml constraints.txt
	@python=$$(for name in python3.11 python3; do \
		$$name -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && { echo $$name; break; }; done; true); \
	[ -n "$$python" ] || { echo "Python 3.11 is needed and neither python3.11 nor python3 is that version; install it and run make again." >&2; exit 1; }; \
	[ -x $(BIN)/python ] || $$python -m venv .venv
	@echo "installing into .venv, 2-5 minutes (log: .venv/install.log)"
	@$(BIN)/python -m pip install -c constraints.txt -e '.[dev]' 2>&1 | tee .venv/install.log \
		| awk '/^Collecting/ {if (++n % 20 == 0) print "  " n " packages found"; fflush()} /^Installing collected/ {print "  " n " packages, unpacking"; fflush()}' \
		|| { tail -n 15 .venv/install.log >&2; echo "pip could not install the packages; the reason is above and in .venv/install.log." >&2; exit 1; }
	@touch $@
