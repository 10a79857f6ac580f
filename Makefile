# `make run`, `make check` and `make test` do all the set-up themselves; `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODEL ?= models/classifier.pt
REPLIES ?= models/smart_reply.tflite
ENCODER ?= models/encoder
GENERATOR ?= models/generator
PRECISION ?=
BESIDE = $(filter-out $(MODEL),$(REPLIES) $(ENCODER) $(GENERATOR))
# What is made where it is not there; models of a hub the server fetches itself, and their colon would be make's.
MADE = $(filter-out hf://%,$(MODEL) $(ENCODER) $(GENERATOR))
ARGS ?=

INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.installed-dev
TESTED := $(VENV)/.installed-test
BUILT := build/.built
EXT_SOURCES := setup.py pyproject.toml ext/CMakeLists.txt $(shell find ext -mindepth 1 -not -name __pycache__ -type d -o -name "*.cc" -o -name "*.h")
CXX_SOURCES := $(shell git ls-files '*.cc' '*.h')

# Tests find the Thrift compiler in PATH.
PYTEST = PATH="$$(dirname "$$(scripts/get_thrift.sh)"):$$PATH" $(BIN)/python -m pytest
WORKERS ?= auto
# One worker a core; each test file runs as a whole in one of them. tests/conftest.py puts those with slow tests first.
IN_PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
LINTS = lint-ruff lint-types lint-cxx lint-image
CHECKS = lint-ruff lint-types lint-cxx quick-tests

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## list the targets
	@sed -nE -e 's/^##@ (.*)/\n\1/p' -e 's/^([a-z\/-]+):.*## */  \1\t/p' $(MAKEFILE_LIST) | expand -t 22

##@ Use it

.PHONY: run
run: setup $(MADE) fetch  ## serve on 9090 (Thrift) and 8080 (HTTP); MODEL=path or MODEL=hf://OWNER/NAME for another model, ARGS for more flags
	exec $(BIN)/python -m server $(MODEL) $(foreach model,$(BESIDE),$$($(if $(filter hf://%,$(model)),,test -e '$(model)' && )echo --model '$(model)')) $(if $(PRECISION),--precision $(PRECISION)) $(ARGS)

.PHONY: fetch
fetch: | $(INSTALLED)  ## get Google's Smart Reply model, if it is not there; REPLIES=path for another one, REPLIES= for none
	@test -z '$(REPLIES)' || test -f '$(REPLIES)' \
		|| { test '$(REPLIES)' = models/smart_reply.tflite && $(BIN)/python scripts/fetch_models.py smart-reply; } \
		|| echo "WARNING: there is no $(REPLIES): the server will not answer /reply and /api/inference" >&2

.PHONY: setup-tf setup-tflite setup-onnx setup-ray setup-stores
setup-tf: $(INSTALLED)  ## TensorFlow SavedModels, online and in batch jobs
	scripts/setup.sh $(VENV) --edit tensorflow

setup-tflite: $(INSTALLED)  ## TensorFlow Lite files other than Smart Reply's
	scripts/setup.sh $(VENV) --edit tflite

setup-onnx: $(INSTALLED)  ## folders whose model is ONNX
	scripts/setup.sh $(VENV) --edit onnx

setup-ray: $(INSTALLED)  ## batch jobs on a Ray cluster
	scripts/setup.sh $(VENV) --edit ray

setup-stores: $(INSTALLED)  ## batch jobs on object stores
	scripts/setup.sh $(VENV) --edit stores

models/classifier.pt: | $(INSTALLED)
	$(BIN)/python scripts/train_classifier.py --output $@

models/encoder: | $(INSTALLED)  ## the sentence encoder; ENCODER= for none; make run PRECISION=bfloat16 or int8: faster
	$(BIN)/python scripts/fetch_models.py encoder

models/generator: | $(INSTALLED) $(BUILT)  ## a small GPT-2, trained in a few minutes; GENERATOR= for none
	$(BIN)/python scripts/train_generator.py --output $@ $$(test -e $@.checkpoint && echo --resume)

##@ Change it

.PHONY: check
check: setup $(TESTED)  ## before every commit, in two minutes: ruff, mypy, clang-format and the quick tests, at once
	@begin=$$(date +%s); \
		$(MAKE) --no-print-directory --jobs=4 --keep-going --output-sync=target $(CHECKS) \
		&& echo "make check: all is well, after $$(($$(date +%s) - begin)) s"

.PHONY: test
test: setup $(TESTED)  ## all tests, with branch coverage; ARGS='-k NAME' or ARGS=FOLDER for some of them
	$(PYTEST) $(IN_PARALLEL) --cov --cov-report=term:skip-covered $(ARGS)

.PHONY: lint
lint: setup $(TESTED) $(LINTS)  ## ruff, mypy, clang-format, hadolint

.PHONY: format
format: setup $(DEVELOPED)  ## let ruff and clang-format write
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

.PHONY: $(LINTS) quick-tests
$(LINTS) quick-tests: setup $(TESTED)

lint-ruff:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-types:
	$(BIN)/mypy

lint-cxx:
	$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)

lint-image:
	$(BIN)/hadolint Dockerfile

quick-tests:
	$(PYTEST) $(IN_PARALLEL) -q -m quick $(ARGS)

.PHONY: test-clients
test-clients: setup $(TESTED)  ## clients in every language that has a Thrift library; installs compilers and libraries, as root
	scripts/get_languages.sh $(BIN)/python
	$(PYTEST) -q tests/clients/languages.py tests/clients/thrift/run.py $(ARGS)

.PHONY: test-libraries
test-libraries: setup $(TESTED)  ## LangChain, LlamaIndex, Haystack, litellm, llm, lm-eval, Triton's, KServe's and other clients; installs them into build/libraries
	test -x build/libraries/bin/python || $(PYTHON) -m venv build/libraries
	build/libraries/bin/python -m pip install --quiet --disable-pip-version-check -r tests/clients/python/requirements.txt
	$(PYTEST) tests/clients/libraries.py tests/clients/servers.py tests/clients/chats.py tests/clients/log_likelihoods.py $(ARGS)

.PHONY: test-openapi
test-openapi: setup $(TESTED)  ## schemathesis against every route of /openapi.json; installs it into build/openapi
	test -x build/openapi/bin/python || $(PYTHON) -m venv build/openapi
	build/openapi/bin/python -m pip install --quiet --disable-pip-version-check -r tests/clients/openapi_requirements.txt
	$(PYTEST) tests/clients/openapi.py $(ARGS)

.PHONY: test-nginx
test-nginx: setup $(TESTED)  ## streams through nginx with its default settings; needs nginx
	$(PYTEST) tests/clients/nginx.py $(ARGS)

.PHONY: test-haproxy
test-haproxy: setup $(TESTED)  ## servers restarted one after the other behind HAProxy; needs haproxy
	$(PYTEST) tests/clients/haproxy.py $(ARGS)

.PHONY: test-over-http
test-over-http: setup $(TESTED)  ## Thrift over HTTP from Node.js and from a page in a browser; needs Chromium, Node.js and npm
	$(PYTEST) tests/clients/over_http.py $(ARGS)

.PHONY: test-browser
test-browser: setup $(TESTED)  ## the HTTP pages in a real browser; needs Chromium, Node.js and npm
	$(BIN)/python -m pytest tests/browser/pages.py $(ARGS)

.PHONY: sanitize
sanitize:  ## stress the queue and its workers under ThreadSanitizer and AddressSanitizer
	scripts/sanitize.sh

.PHONY: sanitize-server
sanitize-server: setup $(TESTED)  ## the extension under AddressSanitizer, driven by the server with a model of each kind, and by the fuzzers' inputs
	scripts/sanitize_server.sh $(BIN)/python

.PHONY: chaos
chaos: setup $(TESTED)  ## 10,000 requests of 64 clients, malformed ones among them, while children are killed; ARGS='--seed N'
	$(BIN)/python -m tests.chaos $(ARGS)

SECONDS ?= 600
TARGETS ?=

.PHONY: fuzz
fuzz: setup $(TESTED)  ## coverage-guided fuzzers, each SECONDS=600 long; TARGETS='thrift http' for some; installs atheris into build/fuzz/atheris
	test -d build/fuzz/atheris/atheris || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/fuzz/atheris atheris==3.0.0
	PYTHONPATH="$(CURDIR):$(CURDIR)/gen-py:$(CURDIR)/build/fuzz/atheris" $(BIN)/python -m tests.fuzz $(TARGETS) --seconds $(SECONDS) $(ARGS)

.PHONY: image-test
image-test:  ## run the Dockerfile's steps without Docker, and the server as the image would
	$(PYTHON) scripts/image_test.py

AUDIT := build/audit

.PHONY: audit
audit: $(INSTALLED) $(AUDIT)/.installed  ## known vulnerabilities in what is installed, by pip-audit; needs the network, and fails without it
	$(AUDIT)/bin/python scripts/audit.py $(VENV)

.PHONY: sbom
sbom: $(INSTALLED) $(AUDIT)/.installed  ## list what serving installs, as CycloneDX has it, in build/sbom.json
	$(AUDIT)/bin/python scripts/sbom.py $(VENV) build/sbom.json

$(AUDIT)/.installed: scripts/audit-requirements.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

.PHONY: gen
gen:  ## regenerate gen-py from predictor.thrift
	"$$(scripts/get_thrift.sh)" --gen py -out gen-py predictor.thrift

##@ Measure it

BENCHMARKS = idle crowd smart_reply embeddings classification generation language_models batch

.PHONY: bench
bench: setup $(TESTED) models/classifier.pt fetch models/encoder models/generator  ## measure the server beside the models alone and plain Thrift servers
	$(BIN)/python -m benchmarks $(ARGS); failed=$$?; \
		for name in $(BENCHMARKS); do \
			$(BIN)/python -m benchmarks.$$name $(filter --quick,$(ARGS)) || failed=1; \
		done; exit $$failed

.PHONY: bench-peers
bench-peers: setup $(TESTED) models/classifier.pt  ## mosec, LitServe, ONNX, OpenVINO, CTranslate2, infinity and others beside it
	$(BIN)/python -m benchmarks --peers $(ARGS); failed=$$?; \
		$(BIN)/python -m benchmarks.embeddings --peers --models minilm base $(filter --quick,$(ARGS)) || failed=1; \
		$(BIN)/python -m benchmarks.classification --peers $(filter --quick,$(ARGS)) || failed=1; exit $$failed

##@ Set-up, which the others do by themselves

.PHONY: setup
setup: $(INSTALLED) $(BUILT)  ## .venv with what `make run` needs, and the extension

$(INSTALLED): pyproject.toml scripts/setup.sh
	PYTHON=$(PYTHON) scripts/setup.sh $(VENV) --edit models
	touch $@

$(DEVELOPED): $(INSTALLED)
	scripts/setup.sh $(VENV) --edit dev,models
	touch $@

$(TESTED): $(INSTALLED)
	scripts/setup.sh $(VENV) --edit dev,models,test,tflite,onnx,gs,s3,tensorflow,ray
	touch $@

$(BUILT): $(EXT_SOURCES) | $(INSTALLED)
	@mkdir -p $(@D)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python setup.py --quiet build_ext --inplace
	touch $@

.PHONY: clean
clean:  ## remove what was built, but not .venv and the models
	rm -rf build/lib* build/temp* build/sanitize build/sanitize-server build/chaos build/kernel-tests build/loadgen build/browser $(BUILT) ext/*.so *.egg-info .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
