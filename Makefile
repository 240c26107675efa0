# make            list the targets
# make up         build the image, start production, print its address
# make test       test it

IMAGE ?= docker-flask
NAME ?= flaskapp
PORT ?= 8091
DEBUG_PORT ?= 5000
# Options of pytest, for example: make test TESTS="tests/unit -k settings"
TESTS ?=
DOCKER := tools/docker

.DEFAULT_GOAL := help
.PHONY: help image up debug down test test-quick test-all test-apps test-arm64 lint lock

help: ## show this list
	@sed -nE 's/^## (.*)/\n\1/p; s/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
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

include tools/measure-and-release.mk
