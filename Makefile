# spawnlet: `make demo` shows it, `make test` tests it, `make check` reads it. Each installs what it needs.

NODE := node_modules/.bin/node24
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
