## Measurements and releases

# Options of a measurement, for example: make figures OPTIONS="--rounds 1"
OPTIONS ?=
# A release: where to, and for which processors. By hand, KEY is a private key, and for `make
# verify` the public one; without, the workflow on GitHub signs.
REGISTRY ?=
PLATFORMS ?= linux/amd64,linux/arm64
KEY ?=
# Modules of benchmarks/ that `make measure` runs.
MEASUREMENTS := first-page hardening https jobs known-problems observing overhead peers release \
  replicas sizing waiting websockets
RUN = BASE_IMAGE=$$(tools/base-image) IMAGE=$(IMAGE) DOCKER=$(DOCKER) .venv/bin/python -m benchmarks

.PHONY: figures rollouts soak bench measure release verify

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

release: ## publish the current commit to REGISTRY/docker-flask, signed
	@$(if $(REGISTRY),,$(error set REGISTRY, for example REGISTRY=ghcr.io/owner))
	@tools/install release $(if $(findstring arm64,$(PLATFORMS)),arm64)
	@PATH="$$PWD/.venv/bin:$$PATH" python3 -m release publish $(REGISTRY) --platforms $(PLATFORMS) \
	  --key "$(KEY)" $(OPTIONS)

verify: ## check signatures, files, SBOM and provenance of the published IMAGE
	@tools/install release
	@PATH="$$PWD/.venv/bin:$$PATH" python3 -m release verify $(IMAGE) --key "$(KEY)"
