# make help says what there is. Variables of install: DESTDIR, PREFIX, NODE.

DESTDIR =
PREFIX = /usr/local
NODE = $(shell command -v node)

SOURCES = $(shell find daemon cli -name '*.ts')
ALL_SOURCES = $(SOURCES) $(shell find scripts test -name '*.ts')
CONFIGS = tsconfig.json tsconfig.build.json package-lock.json

# One file instead of hundreds: loading modules was the longest part of the start; and CommonJS, which Node loads faster
# than ES modules. The native part of koffi stays outside; usocket, x11 and event-stream are for transports of dbus-next that we
# do not use. Left out with them is what the code we use of dbus-next and pino would load, but never call. What is imported
# later is required then: kept code (daemon/base/kept-program.ts) cannot import.
BUNDLE = npx esbuild --bundle --platform=node --format=cjs --out-extension:.js=.cjs --target=node20 --log-level=warning \
	--supported:dynamic-import=false \
	--alias:koffi=./scripts/koffi.cjs --external:usocket --external:x11 --external:event-stream \
	$(foreach name,assert xml2js thread-stream sonic-boom on-exit-leak-free net crypto,--alias:$(name)=./scripts/left-out.cjs) \
	--banner:js="const importMeta = { url: require('node:url').pathToFileURL(__filename).href, dirname: __dirname };" \
	--define:import.meta=importMeta

.PHONY: help deps build build-all check policy test demo shell bench bench-network install uninstall clean

help:
	@echo 'make deps       fetch what building and testing need (Debian packages only as root, only when missing)'
	@echo 'make build      compile the daemon and machinedctl into dist/'
	@echo 'make check      formatting, lint, types, import directions, generated files'
	@echo 'make test       build, then run all tests (as root: those on a booted test host too)'
	@echo 'make demo       boot a throw-away test host and show the daemon at work (root)'
	@echo 'make shell      boot a throw-away test host and open a shell in it (root)'
	@echo 'make bench      measure the daemon; with PART=debian13, images, copies or varlink only that part'
	@echo 'make policy     write dbus-policy/ anew from the method tables'
	@echo 'make install    DESTDIR= PREFIX=/usr/local NODE=(the node in $$PATH)'
	@echo 'make uninstall  take it out again and give back what install moved aside'
	@echo 'make clean      remove dist/ and .tap/'

deps:
	@sh scripts/system-packages.sh
	@sh scripts/npm-packages.sh

# The stamps compare times of files, so that a second `make install` costs nothing.
dist/.daemon: $(SOURCES) $(CONFIGS) scripts/left-out.cjs scripts/koffi.cjs
	@sh scripts/npm-packages.sh
	npx tsc -p tsconfig.build.json
	rm -rf dist/bundle
	$(BUNDLE) daemon/start.ts daemon/main.ts $(wildcard daemon/*/*-thread.ts) \
		--outdir=dist/bundle --entry-names=[name]
	echo "// $$(sha256sum <dist/bundle/main.cjs | cut -d ' ' -f 1)" >>dist/bundle/main.cjs
	$(BUNDLE) cli/main.ts --outfile=dist/bundle/machinedctl.cjs
	@touch $@

dist/.all: $(ALL_SOURCES) $(CONFIGS)
	@sh scripts/npm-packages.sh
	npx tsc
	@touch $@

build: dist/.daemon

build-all: dist/.daemon dist/.all

check: build-all
	npx prettier --check .
	npx eslint .
	npx tsc --noEmit
	npx tap run --disable-coverage --reporter=terse test/architecture.test.ts
	node dist/scripts/generate-policy.js --check

policy: dist/.all
	node dist/scripts/generate-policy.js

test: deps build-all
	node dist/scripts/run-tests.js $(TESTS)

demo: deps build-all
	node dist/test/host/demo.js

shell: deps build-all
	node dist/test/host/shell.js

bench: deps build-all
	@test -f dist/scripts/bench.js || { echo 'There is no benchmark yet.'; exit 1; }
	$(BUNDLE) scripts/bench-client.ts --outfile=dist/scripts/bench-client.cjs
	node dist/scripts/bench.js $(PART)

bench-network: deps build-all
	$(BUNDLE) scripts/bench-network-client.ts --outfile=dist/scripts/bench-network-client.cjs
	node dist/scripts/bench-network.js

install: dist/.daemon
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' NODE='$(NODE)' sh scripts/install.sh

uninstall:
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' sh scripts/uninstall.sh

clean:
	rm -rf dist .tap
