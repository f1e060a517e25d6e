# make demo     build a VMware-style guest, migrate it, boot the result, show the report
# make demo VMDK=guest.vmdk OUTPUT=guest.qcow2     the same with your own disk
# make check    lint, unit tests, sanitizers, fuzzers and a real migration
# make check-all, fuzz, bench, install, format, lint, clean: see README.md

BUILD = build
PREFIX = /usr/local
VMDK =
OUTPUT =
FUZZ_SECONDS = 10

CI_SUITES = lint unit=$(BUILD) unit=$(BUILD)-asan fuzz=$(BUILD)-fuzz e2e/cli e2e/files e2e/layouts e2e/btrfs-devices e2e/guestfs e2e/images e2e/outputs e2e/reflink e2e/remote e2e/nbd-serve e2e/appliance e2e/bad-input e2e/interrupt e2e/resume e2e/clone e2e/clone-libvirt e2e/clone-watch e2e/clone-identity e2e/clone-diff e2e/clone-diff-volumes e2e/clone-encrypt e2e/clone-guests e2e/clone-move e2e/clone-nbd e2e/clone-originals e2e/clone-tpm e2e/clone-windows e2e/firstboot e2e/windows-guests e2e/windows e2e/windows-repairs e2e/windows-boot e2e/windows-odd e2e/windows-bitlocker e2e/windows-kept e2e/replaced e2e/discover e2e/migrate

.PHONY: all demo check check-all deps check-deps bench-deps build asan fuzz-build fuzz bench install format lint clean

all: build

deps:
	scripts/install-deps build

check-deps:
	scripts/install-deps check

bench-deps:
	scripts/install-deps bench

$(BUILD)/build.ninja:
	meson setup $(BUILD) --prefix $(PREFIX)

build: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)-asan/build.ninja:
	meson setup $(BUILD)-asan -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 -Dc_args=-g1

asan: $(BUILD)-asan/build.ninja
	ninja -C $(BUILD)-asan test-programs

$(BUILD)-fuzz/build.ninja:
	CC=clang meson setup $(BUILD)-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-g1

fuzz-build: $(BUILD)-fuzz/build.ninja
	ninja -C $(BUILD)-fuzz test-programs

demo: deps
	$(MAKE) build
	scripts/demo $(BUILD)/src/cmd/hyper2kvm '$(VMDK)' '$(OUTPUT)'

check: check-deps
	$(MAKE) build asan fuzz-build
	FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run --build $(BUILD) $(CI_SUITES)

check-all: check-deps
	$(MAKE) build asan fuzz-build
	FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run --build $(BUILD) $(CI_SUITES) e2e/guests e2e/guest-volumes

fuzz: check-deps
	$(MAKE) fuzz-build
	FUZZ_SECONDS=600 FUZZ_SEED=0 tests/run --build $(BUILD)-fuzz fuzz=$(BUILD)-fuzz

bench: bench-deps
	$(MAKE) $(BUILD)-bench/build.ninja
	ninja -C $(BUILD)-bench
	tests/bench/run $(BUILD)-bench

$(BUILD)-bench/build.ninja:
	meson setup $(BUILD)-bench --buildtype=release -Dtests=false

install: build
	meson install -C $(BUILD) --no-rebuild
	if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" -eq 0 ]; then ldconfig; fi

lint: check-deps
	$(MAKE) build
	tests/run --build $(BUILD) lint

format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-fuzz $(BUILD)-bench
