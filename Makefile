# The few commands of whylook. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ALL_TESTS := $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help demo quick test check attack bench bench-run bench-store bench-ray bench-judge bench-findings bench-comparison bench-labels bench-words bench-discovery clean
.DEFAULT_GOAL := help

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/whylook: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	@echo "Installing whylook (llama-cpp-python compiles: about 4 minutes on 2 cores) ..."
	$(BIN)/pip install --quiet torch torchvision
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(BIN)/whylook
	$(BIN)/pip install --quiet --editable '.[bench,test,train]'
	@touch $@

demo: $(BIN)/whylook  ## explain the demo world's classifier and open the app
	$(BIN)/whylook demo

quick: $(VENV)/.test  ## run the tests that answer at once: no browser, no judge, no training (2 minutes)
	$(BIN)/python -m pytest -q -m "not slow"

test: $(VENV)/.test  ## run every test and name the ten slowest
	$(ALL_TESTS) --durations=10

check: $(VENV)/.test  ## format, lint, types, imports, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(ALL_TESTS)

attack: $(VENV)/.test  ## try to break it: SQL, kills, flipped bytes, full disks, hostile files, a cluster, a soak (22 minutes)
	$(BIN)/python -m pytest -q tests/attack

bench: $(VENV)/.test  ## seconds per stage, the first picture, attribution and the judge beside their peers, each page, exports
	$(BIN)/python -m tests.bench.run
	$(BIN)/python -m tests.bench.attribution
	$(BIN)/python -m tests.bench.judge
	$(BIN)/python -m tests.bench.pages
	$(BIN)/python -m tests.bench.browsers
	$(BIN)/python -m tests.bench.exports

bench-run: $(VENV)/.test  ## what a whole run costs, beside a plain loop, pytorch-grad-cam's loop and a busy process (40 minutes)
	$(BIN)/python -m tests.bench.price

bench-store: $(VENV)/.test  ## what a store of 1.3 million pictures costs: made, published, resumed, asked (20 minutes, 15 GB)
	$(BIN)/python -m tests.bench.store

bench-ray: $(VENV)/.test  ## one process beside one and two workers of a Ray cluster
	$(BIN)/python -m tests.bench.cluster

build/llama-server: $(VENV)/.test
	$(BIN)/python -m tests.support.llama_server build

bench-judge: build/llama-server  ## the judge beside llama-server of the same llama.cpp, which is built first (10 minutes in all)
	$(BIN)/python -m tests.bench.judge_server build/llama-server

bench-findings: $(VENV)/.test  ## how often a report is wrong, and what it finds, on runs whose truth is drawn
	$(BIN)/python -m tests.bench.findings
	$(BIN)/python -m tests.bench.several_causes
	$(BIN)/python -m tests.bench.group_words

bench-comparison: $(VENV)/.test  ## how often a comparison of two runs finds what is not there, and what it finds
	$(BIN)/python -m tests.bench.comparison

bench-labels: $(VENV)/.test  ## how well wrong labels are found on real pictures: DATA=FOLDER (see tests/bench/labels.py)
	$(BIN)/python -m tests.bench.labels $(DATA)

bench-words: $(VENV)/.test  ## of how many pictures the words of cells and mistakes are true, against object masks (5 minutes)
	$(BIN)/python -m tests.bench.cell_words

bench-discovery: $(VENV)/.test  ## which planted cues are found, and used told from present, on trained models: DATA=FOLDER
	$(BIN)/python -m tests.bench.discovery $(DATA)

clean:  ## remove the virtual environment and the demo store
	rm -rf $(VENV) whylook-store
