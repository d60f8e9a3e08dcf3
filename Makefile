# spawnlet: `make demo` shows it, `make test` tests it, `make check` reads it. Each installs what it needs.

ARCH := $(if $(filter aarch64,$(shell uname -m)),arm64,x64)
NODE := node_modules/node-linux-$(ARCH)/bin/node
# Tools of node_modules on the Node that lies there, for recipes that name it.
TOOLS := PATH="$(CURDIR)/node_modules/node-linux-$(ARCH)/bin:$(CURDIR)/node_modules/.bin:$$PATH"
PREFIX ?= /usr/local
LIB := $(DESTDIR)$(PREFIX)/lib/spawnlet
# A part of the tests: make test ROOM=image
ROOM ?=

.PHONY: build setup demo check test bench soak vm format install uninstall lab-clean

# The command, as bin/spawnlet runs it.
build:
	@scripts/setup.sh modules

# Everything that tests and the demo need.
setup:
	@scripts/setup.sh

# An image as a systemd unit, in a lab that is gone afterwards.
demo: setup
	@$(NODE) --disable-warning=ExperimentalWarning scripts/demo.ts

# Types, lint with the dependency direction, format. Changes nothing.
check: build
	@$(TOOLS) tsc
	@$(TOOLS) oxlint --type-aware src test scripts
	@$(TOOLS) biome check --error-on-warnings

format: build
	@$(TOOLS) biome check --write

# Units, and integration in labs.
test: setup
	@ROOM=$(ROOM) $(NODE) test/run.ts

# The table of speed, peers in the same run. A part of it: make bench ROWS=run,pull
bench: setup
	@ROWS=$(ROWS) $(NODE) test/bench/bench.ts

# 110 pods come and go for an hour, and nothing grows. Shorter, with fewer: make soak MINUTES=10 PODS=20
MINUTES ?= 60
PODS ?= 110
soak: setup
	@SOAK=$(MINUTES) SOAK_PODS=$(PODS) $(NODE) test/run.ts test/pod/churn.test.ts

# A smoke on systemd as PID 1 with cgroup v2, in QEMU by software emulation: about six minutes.
vm:
	@scripts/setup.sh qemu-system-x86 e2fsprogs
	@$(NODE) --disable-warning=ExperimentalWarning test/vm/vm.ts

install: build
	install -d "$(LIB)/bin" "$(LIB)/node_modules/node-linux-$(ARCH)/bin" "$(LIB)/node_modules/@koromix" "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 bin/spawnlet "$(LIB)/bin/spawnlet"
	install -m 755 $(NODE) "$(LIB)/$(NODE)"
	rm -rf "$(LIB)/dist" "$(LIB)/node_modules/koffi"
	cp -r dist "$(LIB)/dist"
	cp -r node_modules/koffi "$(LIB)/node_modules/"
	cp -r node_modules/@koromix/koffi-linux-$(ARCH) "$(LIB)/node_modules/@koromix/"
	ln -sf ../lib/spawnlet/bin/spawnlet "$(DESTDIR)$(PREFIX)/bin/spawnlet"

uninstall:
	rm -rf "$(LIB)" "$(DESTDIR)$(PREFIX)/bin/spawnlet"

# Ends every lab and removes the trees that they were made of.
lab-clean: build
	@bin/spawnlet lab down --all --trees
