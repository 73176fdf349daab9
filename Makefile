# The ways in: `make help` lists them. Recipes live in setup/, images/ and .ci/; here is only what runs after what.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Targets share cargo's build folder and the image cache: one after the other, cargo uses all cores itself.
.NOTPARALLEL:

image := debian-12
zfs_image := debian-12-zfs
cloud_init_image := debian-12-cloud-init
lean_image := debian-12-lean
next_image := debian-13
cloud_image := debian-12-cloud
baked_image := debian-12-baked
next_baked_image := debian-13-baked
zfs_baked_image := debian-12-baked-zfs
# The one that compiles a kernel module comes last: CI builds it beside the others.
images := $(cloud_init_image) $(image) $(lean_image) $(next_image) $(cloud_image) $(baked_image) $(zfs_image)
cache := $(or $(CLOUD_MACHINE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cloud-machine)
target := $(abspath $(or $(CARGO_TARGET_DIR),target))
cargo_deny := "$(cache)/tools/bin/cargo-deny" --locked --workspace
guest_target := x86_64-unknown-linux-gnu
export CLOUD_MACHINE_BIN := $(target)/release/cloud-machine
export CLOUD_MACHINE_AGENT := $(target)/$(guest_target)/agent/cloud-machine-agent
service := $(target)/$(guest_target)/agent/cloud-machine-agentd
stager := $(target)/$(guest_target)/agent/cloud-machine-recovery
scripts := setup/install images/build $(wildcard images/*/recipe images/*/hooks/*.sh images/*/files/usr/local/sbin/*) .ci/run fuzz/run tests/run \
	packages/build packages/manual-pages packages/debian/cloud-machine.postrm $(wildcard packages/debian/cloud-machine-agent.p*) \
	initramfs/baked/install initramfs/baked/bake initramfs/baked/agent-is-off initramfs/baked/look-at-disks initramfs/baked/release-disks systemd/cloud-machine-agent-generator \
	$(wildcard initramfs/dracut/*/*.sh initramfs/initramfs-tools/hooks/* initramfs/initramfs-tools/scripts/*/*) \
	$(wildcard guest-agent/src/swarm/*.sh tests/src/cloud/qemu/*.sh tests/src/vm/*.sh)

.PHONY: help setup build deb image $(images) $(next_baked_image) $(zfs_baked_image) test self-reimage matrix test-tools test-programs demo bench fuzz lint clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

setup: ## install missing Debian packages (setup/packages.txt); needs root if one is missing
	@setup/install

build: ## compile the host program, the static agent and the programs of the booted system
	cargo build --locked --release -p cloud-machine-cli
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile agent --target $(guest_target) \
		-p cloud-machine-guest-agent --features static
	@# By themselves: what their crates ask of shared ones is not to be in the agent.
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile agent --target $(guest_target) -p cloud-machine-agent-service \
		-p cloud-machine-stager --features cloud-machine-stager/static
	@size=$$(stat -c %s "$$CLOUD_MACHINE_AGENT"); [[ $$size -le $$((5 << 20)) ]] || { \
		echo "error: the agent has $$size bytes, and every initramfs carries it: at most 5 MiB are wanted" >&2; exit 1; }

deb: setup build ## make Debian packages of the programs, and an archive of what is in them
	@packages/build --program "$$CLOUD_MACHINE_BIN" --agent "$$CLOUD_MACHINE_AGENT" --service "$(service)" \
		--stager "$(stager)" "$(target)/deb"

image: $(images) ## build the golden images, or print their folders if they are in the cache; needs root to build

$(images) $(next_baked_image) $(zfs_baked_image): # one of them, by its name
	@images/build $@

test: setup build image test-tools ## run all tests, virtual machines included
	@CLOUD_MACHINE_TEST_ZFS_IMAGE="$$(images/build $(zfs_image))" \
		CLOUD_MACHINE_TEST_CLOUD_INIT_IMAGE="$$(images/build $(cloud_init_image))" \
		CLOUD_MACHINE_TEST_LEAN_IMAGE="$$(images/build $(lean_image))" \
		CLOUD_MACHINE_TEST_NEXT_IMAGE="$$(images/build $(next_image))" \
		CLOUD_MACHINE_TEST_CLOUD_IMAGE="$$(images/build $(cloud_image))" \
		CLOUD_MACHINE_TEST_BAKED_IMAGE="$$(images/build $(baked_image))" \
		CLOUD_MACHINE_TEST_DOCKERD="$(cache)/test-programs/usr/sbin/dockerd" \
		CLOUD_MACHINE_TEST_BUSYBOX="$(cache)/test-programs/bin/busybox" \
		CLOUD_MACHINE_TEST_HCLOUD="$(cache)/test-python/bin/python" \
		CLOUD_MACHINE_TEST_PRISM="$(cache)/test-node/node_modules/.bin/prism" \
		CLOUD_MACHINE_TEST_IMAGE="$$(images/build $(image))" tests/run

matrix: setup build ## boot images that carry the agent, of several releases, with several kinds of root; an hour in emulation
	CLOUD_MACHINE_TEST_ZFS_IMAGE="$$(images/build $(zfs_image))" \
		CLOUD_MACHINE_TEST_BAKED_IMAGE="$$(images/build $(baked_image))" \
		CLOUD_MACHINE_TEST_NEXT_BAKED_IMAGE="$$(images/build $(next_baked_image))" \
		CLOUD_MACHINE_TEST_ZFS_BAKED_IMAGE="$$(images/build $(zfs_baked_image))" \
		cargo test --locked -p cloud-machine-tests --test machines baked::matrix -- --ignored --nocapture

self-reimage: setup build ## have a machine reimage itself by UEFI, as `make test` does by a BIOS
	CLOUD_MACHINE_TEST_CLOUD_IMAGE="$$(images/build $(cloud_image))" CLOUD_MACHINE_TEST_BAKED_IMAGE="$$(images/build $(baked_image))" \
		cargo test --locked -p cloud-machine-tests --test machines whole_way -- --ignored --nocapture

test-tools: setup ## unpack what tests run into the cache
	@setup/install --test

test-programs: setup ## compile the programs of the tests, run none
	cargo test --locked --workspace --no-run
	cargo test --locked --workspace --no-run --test machines

demo: setup build $(image) ## create a machine, let a hostile job loose on it, reimage and verify it
	cargo run --locked --release -p cloud-machine-tests --bin demo -- --image-folder "$$(images/build $(image))"

bench: setup build $(image) $(cloud_image) ## measure documents, images onto disks, rented machines; exit code 1: a target is missed
	@setup/install --bench
	cargo build --locked --release -p cloud-machine-tests --bin bench --bin bench-disks --bin bench-store --bin bench-cloud
	CLOUD_MACHINE_TEST_IMAGE="$$(images/build $(image))" "$(target)/release/bench-disks" $(BENCH_OPTIONS)
	"$(target)/release/bench-store" $(BENCH_OPTIONS)
	CLOUD_MACHINE_TEST_CLOUD_IMAGE="$$(images/build $(cloud_image))" "$(target)/release/bench-cloud" $(BENCH_OPTIONS)
	CLOUD_MACHINE_BENCH_PEERS="$(cache)/peers" "$(target)/release/bench" $(BENCH_OPTIONS)

fuzz: setup ## fuzz each target of fuzz/ for FUZZ_SECONDS (60)
	@fuzz/run

lint: setup ## check format, clippy, licences, banned crates, sources, advisories (network) and scripts
	cargo fmt --all --check
	@# A workspace of its own: a crate that the loader takes in has to come into this lock, too.
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@# The one target that `cargo test` runs only when it is named.
	cargo clippy --locked --workspace --test machines -- -D warnings
	@setup/install --tools
	$(cargo_deny) check --hide-inclusion-graph bans licenses sources
	@# The advisory database has a host of its own, which a build machine may not reach.
	@if $(cargo_deny) fetch db 2>/dev/null; then $(cargo_deny) check --hide-inclusion-graph advisories; else \
		echo "warning: advisories were NOT checked: the advisory database cannot be fetched from here" >&2; fi
	shellcheck --external-sources $(scripts)

clean: ## delete the build folder; images and tools stay in the cache outside the checkout
	cargo clean
	@echo "kept: $(cache)" >&2
