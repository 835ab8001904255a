# The one way in: `make help` lists what there is.
# Everything that needs npm's packages depends on $(DEPS), so a fresh clone needs no other step.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

NODE := sh scripts/node.sh
DEPS := node_modules/.installed
SCHEMAS := schemas/generated/types.ts
BUILD_SCRIPTS := $(wildcard scripts/build/*.ts) package.json $(DEPS)
SOURCES := $(shell find plugins tools daemons shared schemas -path schemas/generated -prune -o -type f -print)

.PHONY: all build build-pkg test run unit bench bench-docs profile image check lint typecheck fmt clean help soak

all: build build-pkg ## Both builds

build: dist/bin/flannel ## The plugins for this machine, in dist/bin

build-pkg: dist/pkg/flannel ## The same, on Node instead of Bun, in dist/pkg

dist/bin/flannel: $(SOURCES) $(SCHEMAS) $(BUILD_SCRIPTS)
	@$(NODE) scripts/build/main.ts bin

dist/pkg/flannel: $(SOURCES) $(SCHEMAS) $(BUILD_SCRIPTS)
	@$(NODE) scripts/build/main.ts pkg

$(SCHEMAS): $(wildcard schemas/*.schema.json) scripts/build/gen_schemas.ts $(DEPS)
	@$(NODE) scripts/build/gen_schemas.ts

$(DEPS): package-lock.json
	@sh scripts/setup.sh deps

test: ## Every check, both builds and all tests (as root)
	@sh scripts/setup.sh test
	@$(MAKE) $(SCHEMAS)
	@$(NODE) scripts/check/test.ts

soak: ## All faults, crowds, a million hostile inputs, each test on both builds (as root; takes hours)
	@sh scripts/setup.sh test
	@$(MAKE) all
	@SOAK=1 FUZZ_CASES=70000 $(NODE) node_modules/vitest/vitest.mjs run --maxWorkers=2 $(ARGS)

run: ## A demonstration: pods that reach each other (as root)
	@sh scripts/setup.sh run
	@$(MAKE) build
	@$(NODE) scripts/demo/main.ts

unit: $(SCHEMAS) ## The unit tests alone, no root needed
	@$(NODE) node_modules/vitest/vitest.mjs run --project unit

bench: ## Times beside the reference plugins' (as root; ARGS=--quick for a minute or two)
	@sh scripts/setup.sh test
	@$(MAKE) build
	@$(NODE) scripts/bench/main.ts $(ARGS)

bench-docs: $(DEPS) ## Puts what bench has found into the docs (ARGS="--out FILE")
	@$(NODE) scripts/bench/main.ts --docs $(ARGS)

image: build ## The init container's image in dist/image, without an engine
	@$(NODE) scripts/release/image.ts $(ARGS)

profile: $(SCHEMAS) ## What a start is made of, module by module
	@$(NODE) scripts/bench/profile.ts $(ARGS)

check: $(SCHEMAS) ## The checks without the tests: format, types, lint, layers, dead code
	@$(NODE) scripts/check/main.ts

lint typecheck: $(SCHEMAS) ## One check alone
	@$(NODE) scripts/check/main.ts $@

fmt: $(DEPS) ## Formats everything
	@$(NODE) node_modules/@biomejs/biome/bin/biome format --write

clean: ## Removes what was built and generated (not node_modules)
	@rm -rf dist schemas/generated .cache

help: ## This list
	@sed -n 's/^\([a-z][a-z -]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-16s %s\n", $$1, $$2 }'
