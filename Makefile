# make            list the targets
# make up         build the image, start production, print its address
# make test       test it

IMAGE ?= docker-flask
NAME ?= flaskapp
PORT ?= 8091
DEBUG_PORT ?= 5000
# Options of pytest, for example: make test TESTS="tests/unit -k settings"
TESTS ?=
# Options of a measurement, for example: make figures OPTIONS="--rounds 1"
OPTIONS ?=
DOCKER := tools/docker
# A release: where to, for which processors, and the private key; `make verify` needs the public key.
REGISTRY ?=
PLATFORMS ?= linux/amd64,linux/arm64
KEY ?= $(if $(filter verify,$(MAKECMDGOALS)),cosign.pub,cosign.key)
# Modules of benchmarks/ that `make measure` runs.
MEASUREMENTS := first-page hardening https jobs known-problems peers release replicas sizing waiting websockets
RUN = BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) .venv/bin/python -m benchmarks

.DEFAULT_GOAL := help
.PHONY: help image up debug down test test-quick test-all test-apps test-arm64 lint lock figures rollouts soak bench measure release verify

help: ## show this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
	@echo '  with PORT=$(PORT) DEBUG_PORT=$(DEBUG_PORT) NAME=$(NAME) IMAGE=$(IMAGE) as you like'
	@echo '  WHAT is one of: $(MEASUREMENTS)'
	@echo '  measurements take OPTIONS: make soak OPTIONS=--help'

image: ## build the image
	@tools/build $(IMAGE)

up: image ## start production and wait until it serves
	@tools/up $(IMAGE) $(NAME) $(PORT)

debug: image ## start development mode on app/, in this terminal
	@-$(DOCKER) rm -fv $(NAME) >/dev/null 2>&1
	@echo 'docker-flask: development on http://localhost:$(DEBUG_PORT)/ - Ctrl-C stops it'
	@$(DOCKER) run --rm -it --name $(NAME) -p $(DEBUG_PORT):5000 -v "$(CURDIR)/app:/app" $(IMAGE) -d debug

down: ## stop production; uploads stay in the volume NAME-data
	@$(DOCKER) stop $(NAME) >/dev/null && $(DOCKER) rm -v $(NAME) >/dev/null && echo 'docker-flask: stopped'

test: ## run the tests with the default server, from a bare machine; 8 minutes
	@tools/test whole $(IMAGE) $(TESTS)

test-quick: ## run the unit tests, and a short test of both modes; 60 seconds
	@tools/test quick $(IMAGE)

test-all: ## run all tests with every server, on every base image, and a short soak; an hour and more
	@tools/test all $(IMAGE)

test-apps: ## serve applications of other projects in both modes; needs PyPI; 10 minutes
	@tools/test apps $(IMAGE)

test-arm64: ## build for arm64 and run the quick tests, emulated on another processor; half an hour
	@tools/test arm64 $(IMAGE)

lint: ## check all code without running it: style, types, security, secrets
	@tools/lint

lock: ## renew requirements.lock: the newest Python packages that requirements.txt allows
	@tools/lock

figures: image ## measure size, start, stop, reload, CPU; BESIDE=IMAGE to compare; 10 minutes
	@tools/install python wrk
	@$(RUN).figures $(if $(BESIDE),--beside $(BESIDE)) $(OPTIONS)

rollouts: image ## roll out versions on a Swarm of six engines, and count what is lost; an hour
	@tools/install python
	@$(RUN).rollouts $(OPTIONS)

soak: image ## repeat stops, reloads and kills a hundred times, and count what is lost; hours
	@tools/install python
	@$(RUN).soak $(OPTIONS)

bench: image ## compare speed with other images for Flask; hours
	@tools/install python wrk
	@$(RUN).bench $(OPTIONS)

measure: image ## measure WHAT=sizing, for example; 4 to 20 minutes
	@$(if $(filter $(MEASUREMENTS),$(WHAT)),,$(error WHAT is one of: $(MEASUREMENTS)))
	@tools/install python wrk compose $(if $(filter https,$(WHAT)),h2load)
	@$(RUN).$(subst -,_,$(WHAT)) $(OPTIONS)

release: ## publish the current commit to REGISTRY/docker-flask, signed with KEY
	@$(if $(REGISTRY),,$(error set REGISTRY, for example REGISTRY=ghcr.io/owner))
	@tools/install release $(if $(findstring arm64,$(PLATFORMS)),arm64)
	@PATH="$$PWD/.venv/bin:$$PATH" python3 -m release publish $(REGISTRY) --platforms $(PLATFORMS) --key $(KEY) $(OPTIONS)

verify: ## check signatures, files, SBOM and provenance of the published IMAGE
	@tools/install release
	@PATH="$$PWD/.venv/bin:$$PATH" python3 -m release verify $(IMAGE) --key $(KEY)
