# `make help` lists the targets.
# Everything that needs npm's packages depends on $(DEPS), so a fresh clone needs no other step.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

NODE := sh scripts/node.sh
DEPS := node_modules/.installed
SCHEMAS := schemas/generated/types.ts
COMPILERS := dist/.work/compilers
BUILD_SCRIPTS := $(wildcard scripts/build/*.ts) package.json $(DEPS) $(COMPILERS)
SOURCES := $(shell find plugins tools daemons shared schemas -path schemas/generated -prune -o -type f -print)

.PHONY: all build build-pkg test run unit test-vm bench bench-docs profile image kubernetes test-cluster check lint typecheck fmt clean help soak test-mixed

all: build build-pkg ## Make both builds

build: dist/bin/flannel ## Build the plugins for this machine, in dist/bin

build-pkg: dist/pkg/flannel ## Build them on Node instead of Bun, in dist/pkg

dist/bin/flannel: $(SOURCES) $(SCHEMAS) $(BUILD_SCRIPTS)
	@$(NODE) scripts/build/main.ts bin

dist/pkg/flannel: $(SOURCES) $(SCHEMAS) $(BUILD_SCRIPTS)
	@$(NODE) scripts/build/main.ts pkg

# A build without a C compiler makes less, and is made again when there is one.
$(COMPILERS): FORCE
	@mkdir -p $(@D)
	@found=$$(for name in wasm2c cc; do command -v $$name; done); \
	  [ "$$found" = "$$(cat $@ 2>/dev/null || echo none)" ] || echo "$$found" >$@

FORCE:

$(SCHEMAS): $(wildcard schemas/*.schema.json) scripts/build/gen_schemas.ts scripts/build/key_trees.ts $(DEPS)
	@$(NODE) scripts/build/gen_schemas.ts

$(DEPS): package-lock.json
	@sh scripts/setup.sh deps

test: ## Run every check, both builds and their tests (as root)
	@sh scripts/setup.sh test
	@$(MAKE) $(SCHEMAS)
	@$(NODE) scripts/check/test.ts $(ARGS)

test-vm: ## Run the tests that want another kernel, in a virtual machine (as root)
	@sh scripts/setup.sh test-vm
	@$(MAKE) build
	@$(NODE) node_modules/vitest/vitest.mjs run --project vm

test-mixed: build ## Run ours and the Go flanneld in one cluster (as root; GO_FLANNELD=FILE)
	@test -x "$(GO_FLANNELD)" || { echo 'Give the Go flanneld: make test-mixed GO_FLANNELD=FILE'; exit 2; }
	@sh scripts/setup.sh test
	@GO_FLANNELD="$(abspath $(GO_FLANNELD))" $(NODE) node_modules/vitest/vitest.mjs run --project bun test/interop/flanneld

kubernetes: $(DEPS) ## Build Kubernetes, once, for test-cluster (with Go 1.26 or later; ten minutes)
	@$(NODE) scripts/kubernetes/main.ts

test-cluster: ## Run the image and the manifest in real Kubernetes clusters, here (as root; ARGS=FILE)
	@sh scripts/setup.sh test
	@$(MAKE) kubernetes
	@$(MAKE) image ARGS="--level 1"
	@$(NODE) node_modules/vitest/vitest.mjs run --project cluster --reporter=verbose $(ARGS)

soak: ## Run the long form of all tests, on both builds (as root; takes hours)
	@sh scripts/setup.sh test-vm
	@$(MAKE) all kubernetes image
	@SOAK=1 FUZZ_CASES=70000 $(NODE) node_modules/vitest/vitest.mjs run --maxWorkers=2 $(ARGS)

run: ## Show pods that reach each other (as root)
	@sh scripts/setup.sh run
	@$(MAKE) build
	@$(NODE) scripts/demo/main.ts

unit: $(SCHEMAS) ## Run the unit tests (no root needed)
	@$(NODE) node_modules/vitest/vitest.mjs run --project unit

bench: ## Compare with the reference plugins (as root; ARGS=--quick for a minute or two)
	@sh scripts/setup.sh test
	@$(MAKE) build
	@$(NODE) scripts/bench/main.ts $(ARGS)

bench-docs: $(DEPS) ## Put the figures of the last bench into the docs (ARGS="--out FILE")
	@$(NODE) scripts/bench/main.ts --docs $(ARGS)

image: build ## Write the image for clusters to dist/image, without an engine
	@$(NODE) scripts/release/image.ts $(ARGS)

profile: $(SCHEMAS) ## Show what each module costs at a start
	@$(NODE) scripts/bench/profile.ts $(ARGS)

check: $(SCHEMAS) ## Run the checks: format, types, lint, layers, names, dead code
	@$(NODE) scripts/check/main.ts

lint typecheck: $(SCHEMAS) ## Run one check
	@$(NODE) scripts/check/main.ts $@

fmt: $(DEPS) ## Format everything
	@$(NODE) node_modules/@biomejs/biome/bin/biome format --write

clean: ## Remove what was built and generated (not node_modules)
	@rm -rf dist schemas/generated .cache

help: ## Print this list
	@sed -n 's/^\([a-z][a-z -]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-16s %s\n", $$1, $$2 }'
