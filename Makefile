# `make run` and `make test` do all the set-up themselves; `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODEL ?= models/classifier.pt
REPLIES ?= models/smart_reply.tflite
ENCODER ?= models/encoder
GENERATOR ?= models/generator
PRECISION ?= float32
BESIDE = $(filter-out $(MODEL),$(REPLIES) $(ENCODER) $(GENERATOR))
ARGS ?=

INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.installed-dev
TESTED := $(VENV)/.installed-test
BUILT := build/.built
EXT_SOURCES := setup.py pyproject.toml ext/CMakeLists.txt $(shell find ext -mindepth 1 -not -name __pycache__ -type d -o -name "*.cc" -o -name "*.h")
CXX_SOURCES := $(shell git ls-files '*.cc' '*.h')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z/-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z\/-]+):.*## */\1\t/' | expand -t 16

.PHONY: run
run: setup $(MODEL) fetch $(ENCODER) $(GENERATOR)  ## serve on 9090 (Thrift) and 8080 (HTTP); MODEL=path for another model, ARGS for more flags
	exec $(BIN)/python -m server $(MODEL) $(foreach model,$(BESIDE),$$(test -e '$(model)' && echo --model '$(model)')) $(ARGS)

.PHONY: fetch
fetch: | $(INSTALLED)  ## get Google's Smart Reply model, if it is not there; REPLIES=path for another one, REPLIES= for none
	@test -z '$(REPLIES)' || test -f '$(REPLIES)' \
		|| { test '$(REPLIES)' = models/smart_reply.tflite && $(BIN)/python scripts/fetch_models.py smart-reply; } \
		|| echo "WARNING: there is no $(REPLIES): the server will not answer /reply and /api/inference" >&2

.PHONY: test
test: setup $(TESTED)  ## run all tests, with branch coverage
	PATH="$$(dirname "$$(scripts/get_thrift.sh)"):$$PATH" $(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(ARGS)

.PHONY: test-clients
test-clients: setup $(DEVELOPED)  ## a tiny client in each of seven languages; needs their compilers and Thrift libraries
	PATH="$$(dirname "$$(scripts/get_thrift.sh)"):$$PATH" $(BIN)/python -m pytest tests/clients/languages.py $(ARGS)

.PHONY: test-browser
test-browser: setup $(TESTED)  ## the HTTP pages in a real browser; needs Chromium, Node.js and npm
	$(BIN)/python -m pytest tests/browser/pages.py $(ARGS)

.PHONY: lint
lint: setup $(TESTED)  ## ruff, mypy, clang-format, hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)
	$(BIN)/hadolint Dockerfile

.PHONY: format
format: setup $(DEVELOPED)  ## let ruff and clang-format write
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

.PHONY: gen
gen:  ## regenerate gen-py from predictor.thrift
	"$$(scripts/get_thrift.sh)" --gen py -out gen-py predictor.thrift

BENCHMARKS = smart_reply embeddings generation batch

.PHONY: bench
bench: setup $(TESTED) models/classifier.pt fetch models/encoder models/generator  ## measure the server beside the models alone and plain Thrift servers
	$(BIN)/python -m benchmarks $(ARGS); failed=$$?; \
		for name in $(BENCHMARKS); do \
			$(BIN)/python -m benchmarks.$$name $(filter --quick,$(ARGS)) || failed=1; \
		done; exit $$failed

.PHONY: bench-peers
bench-peers: setup $(DEVELOPED) models/classifier.pt  ## the same with mosec and LitServe beside it
	$(BIN)/python -m benchmarks --peers $(ARGS)

.PHONY: sanitize
sanitize:  ## stress the queue and its workers under ThreadSanitizer and AddressSanitizer
	scripts/sanitize.sh

.PHONY: image-test
image-test:  ## run the Dockerfile's steps without Docker, and the server as the image would
	$(PYTHON) scripts/image_test.py

.PHONY: setup
setup: $(INSTALLED) $(BUILT)

$(INSTALLED): pyproject.toml scripts/setup.sh
	PYTHON=$(PYTHON) scripts/setup.sh $(VENV) --edit models
	touch $@

$(DEVELOPED): $(INSTALLED)
	scripts/setup.sh $(VENV) --edit dev,models
	touch $@

$(TESTED): $(INSTALLED)
	scripts/setup.sh $(VENV) --edit dev,models,test,gs,s3,tensorflow,ray
	touch $@

.PHONY: setup-tf setup-ray setup-stores
setup-tf: $(INSTALLED)  ## TensorFlow SavedModels, online and in batch jobs
	scripts/setup.sh $(VENV) --edit tensorflow

setup-ray: $(INSTALLED)  ## batch jobs on a Ray cluster
	scripts/setup.sh $(VENV) --edit ray

setup-stores: $(INSTALLED)  ## batch jobs on gs:// and s3://
	scripts/setup.sh $(VENV) --edit gs,s3

$(BUILT): $(EXT_SOURCES) | $(INSTALLED)
	@mkdir -p $(@D)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python setup.py --quiet build_ext --inplace
	touch $@

models/classifier.pt: | $(INSTALLED)
	$(BIN)/python scripts/train_classifier.py --output $@

models/encoder: | $(INSTALLED)  ## the sentence encoder; PRECISION=bfloat16 or int8: faster; ENCODER= for none
	$(BIN)/python scripts/export_encoder.py --precision $(PRECISION) $@

models/generator: | $(INSTALLED) $(BUILT)  ## a small GPT-2, trained in a few minutes; GENERATOR= for none
	$(BIN)/python scripts/train_generator.py --output $@ $$(test -e $@.checkpoint && echo --resume)

.PHONY: clean
clean:  ## remove what was built, but not .venv and the models
	rm -rf build/lib* build/temp* build/sanitize build/kernel-tests build/loadgen build/browser $(BUILT) ext/*.so *.egg-info .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
