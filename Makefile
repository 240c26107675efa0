# make            list the targets
# make up         build the image, start production, print its address
# make test       test it

IMAGE ?= docker-flask
NAME ?= flaskapp
PORT ?= 8091
DEBUG_PORT ?= 5000
# Options of pytest, for example: make test TESTS="tests/unit -k settings"
TESTS ?=
# Options of the benchmark, for example: make bench BENCH="--rounds 1 --rows hello"
BENCH ?=
DOCKER := tools/docker

.DEFAULT_GOAL := help
.PHONY: help image up debug down test test-quick test-all test-apps reproduce lint lock figures soak sizing peers pains bench hardening websockets replicas pictures

help: ## show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
	@echo '  with PORT=$(PORT) DEBUG_PORT=$(DEBUG_PORT) NAME=$(NAME) IMAGE=$(IMAGE) as you like'

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

test: ## run the tests with the default server, from a bare machine; 10 minutes
	@tools/test whole $(IMAGE) $(TESTS)

test-quick: ## run the unit tests, and a short test of both modes; 90 seconds
	@tools/test quick $(IMAGE)

test-all: ## run all tests with every server, on every base image, and a short soak; an hour
	@tools/test all $(IMAGE)

test-apps: ## serve applications of other projects in both modes; needs PyPI; 10 minutes
	@tools/test apps $(IMAGE)

reproduce: ## build the image twice, and compare all files; 10 minutes
	@$(MAKE) --no-print-directory test TESTS="-s tests/image/test_build.py -k two_builds"

lint: ## check all code without running it: style, types, security, secrets
	@tools/lint

lock: ## renew requirements.lock: the newest Python packages that requirements.txt allows
	@tools/lock

figures: image ## measure size, start, stop, reload and a hello; BESIDE=IMAGE to compare
	@tools/needs python wrk
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) \
	  .venv/bin/python -m benchmarks.figures $(if $(BESIDE),--beside $(BESIDE))

.PHONY: first-page
first-page: image ## measure the time from git clone to the first page, with Compose; 5 minutes
	@tools/needs python compose
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) .venv/bin/python -m benchmarks.first_page

.PHONY: jobs
jobs: image ## count the jobs that stops of a Celery and an RQ worker lose; 10 minutes
	@tools/needs python
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) .venv/bin/python -m benchmarks.jobs

.PHONY: rollouts
rollouts: image ## roll out versions on a Swarm of six engines, and count what is lost; an hour
	@tools/needs python
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) .venv/bin/python -m benchmarks.rollouts
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) \
	  .venv/bin/python -m benchmarks.rollout_jobs

soak: image ## repeat each scenario of tests/image/test_loss.py a hundred times; hours
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) .venv/bin/python -m benchmarks.soak

bench: image ## compare speed with other images for Flask; hours
	@tools/needs python wrk
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) \
	  .venv/bin/python -m benchmarks.bench $(BENCH)

sizing: image ## measure the effect and the cost of more workers and threads; 10 minutes
	@tools/needs python wrk
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) \
	  .venv/bin/python -m benchmarks.sizing

peers: image ## count the lost requests of other images for Flask; 20 minutes
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) \
	  .venv/bin/python -m benchmarks.loss_of_peers

pains: image ## repeat known problems of users with this image and a tutorial's image; 4 minutes
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) \
	  .venv/bin/python -m benchmarks.pains

hardening: image ## attack this image and others in the same ways; 15 minutes
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) \
	  .venv/bin/python -m benchmarks.hardening

websockets: image ## measure WebSockets: how many, their memory, their latency, reloads; 10 minutes
	@tools/needs python wrk
	@BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) \
	  .venv/bin/python -m benchmarks.websockets

pictures: image ## make the README's pictures again
	@.venv/bin/python -m tests.browser.screenshots
