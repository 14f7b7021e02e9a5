# sbx: see README.md. Go may be installed without being on PATH.
export PATH := $(PATH):/usr/local/go/bin
export CGO_ENABLED := 0
PREFIX ?= /usr/local
DESTDIR ?=
GO ?= go
SUDO := $(if $(filter 0,$(shell id -u)),,sudo SBX_TEST_AS=$(SBX_TEST_AS))
export SBX_TEST_AS ?= sbx
STAGE := /var/lib/$(SBX_TEST_AS)-test

.PHONY: build install test test-unit test-e2e test-vm test-all bench demo lint static race vulncheck clean

build:
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ ./cmd/...

# Installs what `make build` made; run `make build` as yourself, then `sudo make install`.
install:
	@test -x bin/sbx || { echo "run \`make build\` first"; exit 1; }
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(patsubst cmd/%,bin/%,$(wildcard cmd/*)) $(DESTDIR)$(PREFIX)/bin/
	install -m 644 docs/man/sbx.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -d $(DESTDIR)$(PREFIX)/share/sbx
	install -m 644 packaging/schema/*.json $(DESTDIR)$(PREFIX)/share/sbx/
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	bin/sbx completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/sbx
	bin/sbx completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_sbx
	bin/sbx completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/sbx.fish
	@if [ -d "$(DESTDIR)/etc/apparmor.d" ]; then \
		sed 's|^\(@{sbx_path} = \).*|\1$(PREFIX)/bin/sbx|' packaging/apparmor/sbx > "$(DESTDIR)/etc/apparmor.d/sbx" && \
		chmod 644 "$(DESTDIR)/etc/apparmor.d/sbx" && echo "installed $(DESTDIR)/etc/apparmor.d/sbx"; \
	fi
	@if [ -e "$(DESTDIR)/etc/apparmor.d/abi/4.0" ]; then \
		install -d "$(DESTDIR)/etc/apparmor.d/sbx.d" && \
		install -m 644 packaging/apparmor/sbx.d/* "$(DESTDIR)/etc/apparmor.d/sbx.d/"; \
	fi
	@if [ -z "$(DESTDIR)" ] && [ -f /etc/apparmor.d/sbx ] && [ "$$(id -u)" = 0 ] && \
		[ "$$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then \
		apparmor_parser -r /etc/apparmor.d/sbx && echo "loaded the AppArmor profile"; \
	fi

test:
	@$(GO) run ./tests/run

test-unit:
	@$(GO) run ./tests/run -only unit

test-e2e:
	@$(GO) run ./tests/run -only e2e

# The scripts that depend on the kernel, in a guest with another kernel and systemd.
test-vm:
	@$(GO) run ./tests/vm

# Also the long scripts: many starts, many kills.
test-all: static race
	@$(GO) run ./tests/run -all

bench:
	@$(SUDO) tests/setup.sh prepare
	@$(SUDO) tests/setup.sh development
	@mkdir -p bin/bench.d
	@$(GO) build -trimpath -o bin/bench.d/ ./cmd/... ./bench ./tests/lab
	@printf 'package main\n\nfunc main() {}\n' > bin/bench.d/nothing.go
	@$(GO) build -trimpath -o bin/bench.d/nothing bin/bench.d/nothing.go
	@$(SUDO) tests/setup.sh stage bin/bench.d
	@rm -rf bin/bench.d
	@$(SUDO) $(STAGE)/bin/bench -dir $(STAGE)/bin

demo:
	@$(GO) build -trimpath -o bin/demo/ ./cmd/sbx ./examples/hostile/server
	@mv bin/demo/server bin/demo/demo-server
	@examples/hostile/demo.sh bin/demo/sbx

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "gofmt these files"; exit 1; }
	$(GO) vet ./...

# Bugs that can be seen without running anything. Its findings are mended, none is silenced.
static:
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

# The host's side under the race detector, which takes cgo and a C compiler.
race:
	CGO_ENABLED=1 $(GO) test -race ./cmd/sbx-net ./profiles ./sandbox ./state ./userns

# Known vulnerabilities of what is linked in. The list comes from vuln.go.dev, so this is for whoever has a network.
vulncheck:
	$(GO) run golang.org/x/vuln/cmd/govulncheck@latest ./...

clean:
	rm -rf bin
