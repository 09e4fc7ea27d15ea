# What people and CI run. `make help` lists the targets. Each installs what it lacks (as root on Debian 12 or 13), or names it.
#
#   NOMAD=/path/to/nomad   put this Nomad into the images and run every test with it; without it the builder takes the
#                          official release, and where that cannot be had, the project's stand-in
#   OUT=out                where images go

OUT     ?= out
TARGET  := x86_64-unknown-linux-musl
AGENT   := target/$(TARGET)/release/agent
STANDIN := target/$(TARGET)/tool/nomad-standin
BUILDER := target/debug/builder
ROLES   := server client
# Of one version, so that a verdict changes when this file does.
CARGO_DENY := cargo-deny@0.20.2
CARGO_FUZZ := cargo-fuzz@0.13.2

export STEPPE_AGENT   := $(abspath $(AGENT))
export STEPPE_STANDIN := $(abspath $(STANDIN))
# Empty is as good as not set, for what runs below as well.
ifeq ($(strip $(NOMAD)),)
unexport NOMAD
else
export NOMAD := $(abspath $(NOMAD))
endif

# $(call need,PROGRAMS AND FILES,PACKAGES): installs the packages when one of the programs or files is not there.
define need
@missing=; for p in $(1); do \
  case $$p in /*) [ -e $$p ] ;; *) PATH="$$PATH:/usr/sbin:/sbin" command -v $$p >/dev/null ;; esac || missing="$$missing $$p"; done; \
[ -z "$$missing" ] || { \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "installing$$missing: $(2)"; \
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(2) >/dev/null; \
  else echo "missing:$$missing. Run: sudo apt-get install $(2)" >&2; exit 1; fi; }
endef

.PHONY: help image image-metal test qemu-test lint audit audit-kernel bench fuzz clean deps-build deps-test deps-qemu deps-bench agent standin builder

help:
	@echo "make image       build the server and the client image into $(OUT)/"
	@echo "make test        run the tests that need no virtual machine (STEPPE_SLOW=1: the slow ones too)"
	@echo "make qemu-test   boot the images in QEMU: the reference cluster, its failures, its repairs"
	@echo "make lint        format, clippy, licences and sources of the dependencies"
	@echo "make audit-kernel  hold the images' kernel against kernel-hardening-checker and images/kernel-hardening.toml"
	@echo "make bench       the figures of SPECIFICATION.md that depend on the clock (PARTS=boots: some of them)"
	@echo "make fuzz        each fuzz target for FUZZ_SECONDS (60)"
	@echo "make clean       remove what was built"

deps-build:
	@command -v cargo >/dev/null || { echo "missing: cargo. Install rustup (Debian 13: apt-get install rustup; else https://rustup.rs)" >&2; exit 1; }
	$(call need,cc apt-get /usr/share/keyrings/debian-archive-keyring.gpg,gcc libc6-dev apt debian-archive-keyring)
	@rustup target list --installed 2>/dev/null | grep -qx $(TARGET) || rustup target add $(TARGET)

# The referees: programs that know the formats we write.
deps-test: deps-build
	$(call need,qemu-img mksquashfs sgdisk fsck.vfat mdir mlabel xorriso cpio mke2fs veritysetup syslinux 7z xmllint zstd xz mcopy fdisk file faketime unshare setpriv /usr/lib/ISOLINUX/isolinux.bin,qemu-utils squashfs-tools gdisk dosfstools mtools xorriso cpio e2fsprogs cryptsetup-bin syslinux p7zip-full libxml2-utils zstd xz-utils fdisk file faketime util-linux isolinux)

deps-qemu: deps-test
	$(call need,qemu-system-x86_64 /usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/doc/busybox-static,qemu-system-x86 ovmf busybox-static)

# The Debian that boots are held against; users other than root need uidmap's programs for it.
deps-bench: deps-qemu
	$(call need,mmdebstrap newuidmap,mmdebstrap uidmap)

agent: deps-build
	cargo build --locked --release --target $(TARGET) -p agent

standin: deps-build
	cargo build --locked --profile tool --target $(TARGET) -p standin

builder: deps-build
	cargo build --locked -p builder

image: agent standin builder
	@for role in $(ROLES); do $(BUILDER) build --role $$role --format raw,iso,netboot --output $(OUT) || exit 1; done

# For vm_metal.
image-metal: agent standin builder
	$(BUILDER) build --role server --profile metal --format raw --output $(OUT)

test: deps-test agent standin
	STEPPE_REFEREES=all cargo test --locked --workspace --exclude tests
	PATH="$$PATH:/usr/sbin" cargo test --locked -p agent --test seeds -- --ignored
	cargo test --locked -p tests --lib --test 'contract*'

qemu-test: deps-qemu image image-metal
	STEPPE_IMAGES=$(abspath $(OUT)) cargo test --locked -p tests --test 'vm_*'

lint: deps-build
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@command -v cargo-deny >/dev/null || cargo install --quiet --locked $(CARGO_DENY)
	cargo deny --log-level error check bans licenses sources

audit:
	@command -v cargo-deny >/dev/null || cargo install --quiet --locked $(CARGO_DENY)
	cargo deny check advisories

audit-kernel: deps-test image image-metal
	@command -v kernel-hardening-checker >/dev/null || { echo "missing: kernel-hardening-checker. Install: pipx install kernel-hardening-checker" >&2; exit 1; }
	STEPPE_IMAGES=$(abspath $(OUT)) cargo run --locked --quiet -p tests --bin audit-kernel

bench: deps-bench image
	STEPPE_IMAGES=$(abspath $(OUT)) cargo run --locked --quiet -p tests --bin bench -- $(PARTS)

# No input may take a reader longer, or more memory, than this: seconds, and megabytes at once and in all.
FUZZ_LIMITS := -timeout=20 -malloc_limit_mb=1100 -rss_limit_mb=4096
FUZZ_SECONDS ?= 60
fuzz:
	@command -v cargo-fuzz >/dev/null || cargo install --quiet --locked $(CARGO_FUZZ)
	STEPPE_SEEDS=$(abspath builder/fuzz/corpus) cargo test --quiet --locked -p builder --test fuzz_seeds
	for crate in agent builder; do cd $(CURDIR)/$$crate && for t in $$(cargo fuzz list); do mkdir -p fuzz/corpus/$$t && \
	  cargo +nightly fuzz run $$t fuzz/corpus/$$t $$(ls -d fuzz/seeds/$$t 2>/dev/null) -- -max_total_time=$(FUZZ_SECONDS) $(FUZZ_LIMITS) || exit 1; \
	  done; done

clean:
	cargo clean
	rm -rf $(OUT)
