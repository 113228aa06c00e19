.DEFAULT_GOAL := help

# Builds what is missing in the cache. With --print-env it prints, for `env`, the variables that lead to the binaries.
CONTROLPLANE_BUILD = cd $(CURDIR)/tests/controlplane/build && go run .
CONTROLPLANE_ENV = $$($(CONTROLPLANE_BUILD) --print-env)

.PHONY: help
help: ## Print this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "%-20s %s\n", $$1, $$2}'

.PHONY: control-plane
control-plane: need-go ## Build the Kubernetes control plane of the demo and the tests (once, about 6 minutes)
	@$(CONTROLPLANE_BUILD)

.PHONY: test-control-plane
test-control-plane: control-plane ## Test that the control plane works and leaves nothing behind
	@cd tests/controlplane && env $(CONTROLPLANE_ENV) CGO_ENABLED=0 go test -trimpath -count=1 ./... && cd build && go test ./...

.PHONY: need-go
need-go:
	@command -v go >/dev/null || { \
		echo "go is missing; install it with" >&2; \
		echo "  curl -fsSL https://go.dev/dl/go1.26.0.linux-amd64.tar.gz | sudo tar -C /usr/local -xz && export PATH=/usr/local/go/bin:\$$PATH" >&2; \
		exit 1; }

# Everything that cargo builds here has the kill points of the crash tests, so that nothing is built twice.
CARGO_FLAGS = --locked --features failpoints
# Each case has a control plane of its own: more at once than this and two cores thrash.
THREADS ?= 3
BREAK ?= variables
# The operator of the cases on a real API server: of the same build as the crash harness, so that two cores have time for what is tested.
OPERATOR = cargo build -q $(CARGO_FLAGS) --release --bin savepoint
WITH_OPERATOR = SAVEPOINT_OPERATOR=$(CURDIR)/target/release/savepoint

.PHONY: demo
demo: about-demo control-plane build ## Break production and watch it come back (BREAK=nothing|rollback, KEEP=1 leaves it running)
	@env $(CONTROLPLANE_ENV) target/debug/examples/demo --break $(BREAK) $(if $(KEEP),--keep)

.PHONY: about-demo
about-demo:
	@echo "The first run builds a Kubernetes control plane and the operator (about 15 minutes on two cores, once). After that the demo takes under two minutes."

.PHONY: demo-stop
demo-stop: ## Stop what `make demo KEEP=1` left running
	@target/debug/examples/demo --stop

.PHONY: build
build: need-rust
	@echo "building the operator, the simulator and the demo (a few minutes the first time) …"
	@cargo build $(CARGO_FLAGS) --bins --example demo

.PHONY: test
test: need-rust need-postgres fmt-check lint check-generated unit cuts control-plane ## Everything: format, lint, unit, golden plans, contracts, API server, chart
	@echo "cases on a real API server …"
	@$(OPERATOR)
	@env $(CONTROLPLANE_ENV) $(WITH_OPERATOR) cargo test $(CARGO_FLAGS) --test cluster --test repository -- --test-threads=$(THREADS)
	@$(MAKE) --no-print-directory test-control-plane

.PHONY: unit
unit: need-rust need-postgres ## Unit tests, golden plans, platforms against the simulator
	@cargo test $(CARGO_FLAGS) --workspace --lib --bins --test conformance --test plans --test model --test histories $(patsubst simulator/tests/%.rs,--test %,$(wildcard simulator/tests/*.rs))
	@cargo test $(CARGO_FLAGS) --doc

.PHONY: model
model: need-rust ## Explore the model of the step protocol to the end, in release (minutes)
	@cargo test --release --locked --test model -- --include-ignored --nocapture --test-threads=1

.PHONY: kill
kill: control-plane need-rust ## Kill the operator at any point of a rollback: make kill AT=7, or AT=after-effect:2
	@env $(CONTROLPLANE_ENV) SAVEPOINT_TEST_KILL_AT=$(or $(AT),1) cargo test $(CARGO_FLAGS) --test cluster -- --exact crashes::killed_at_the_point_that_the_environment_names --nocapture

# Most runs per plan; what is beyond is sampled. SEED chooses the sample, PLAN one plan by its name, or some by a part of it.
RUNS ?= 200000
SEED ?= 1

HARNESS = cargo test -q --locked --release --features failpoints --test harness --

.PHONY: cuts
cuts: need-rust ## The crash harness: every plan cut off at every operation, and the planted bugs (about 4 minutes once built)
	@echo "cutting the operator off at every operation of every plan (in release: a few minutes to build the first time) …"
	@$(HARNESS)

.PHONY: proof
proof: need-rust ## Cut it off at pairs of operations: make proof RUNS=20000 SEED=7 PLAN=full, or one run again: PLAN=full-set CUTS=12:Late
	@$(HARNESS) --pairs --budget-runs $(RUNS) --seed $(SEED) --plan "$(PLAN)" --cuts "$(CUTS)"

# What to change one by one, and which part of it: make mutants SHARD=3/40
MUTANTS ?= src/decide/**
SHARD ?= 0/1

.PHONY: mutants
mutants: need-rust ## Change every line of the decisions, one at a time, and see whether a test notices (hours; SHARD=0/40 is one part)
	@cargo mutants --version >/dev/null 2>&1 || cargo install -q --locked cargo-mutants
	@rm -rf target/mutants && mkdir -p target/mutants/src target/mutants/tests
	@cp -r tests/mutants/Cargo.toml tests/mutants/api Cargo.lock target/mutants/ && cp -r src/api src/keyed_digest.rs target/mutants/api/
	@cp -r tests/mutants/lib.rs src/decide target/mutants/src/ && cp -r tests/plans.rs tests/plans tests/histories target/mutants/tests/
	@cd target/mutants && cargo mutants -f '$(MUTANTS)' --shard $(SHARD) --sharding round-robin --baseline run -o .

.PHONY: kill-all
kill-all: control-plane need-rust need-postgres ## Kill the operator at every point of a rollback of five components (EVERY=10: every tenth)
	@$(OPERATOR)
	@env $(CONTROLPLANE_ENV) $(WITH_OPERATOR) SAVEPOINT_TEST_KILLS=1 SAVEPOINT_TEST_KILL_EVERY=$(or $(EVERY),1) cargo test $(CARGO_FLAGS) --test cluster -- kills:: --nocapture

.PHONY: bench
bench: control-plane need-rust need-postgres ## Measure recovery and the operator's own share of a rollback (RUNS=5, KILLS=20)
	@env $(CONTROLPLANE_ENV) cargo bench --locked --bench engine

.PHONY: release-check
release-check: need-rust ## Build the release and look into it: no kill point may be in it
	@cargo build --release --locked --bin savepoint
	@if grep -aqE 'SAVEPOINT_KILL_AT|after-keyless-effect|failpoint' target/release/savepoint; then echo "the release holds kill points" >&2; exit 1; fi

.PHONY: fmt fmt-check
fmt: ## Format
	@cargo fmt --all
fmt-check:
	@cargo fmt --all --check

.PHONY: lint
lint: need-rust ## Clippy, warnings are errors
	@cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings

.PHONY: generate
generate: need-rust ## Write the CRDs from the types
	@cargo run -q $(CARGO_FLAGS) --bin crdgen -- .

.PHONY: check-generated
check-generated: generate ## Fail if the committed CRDs are not those of the types
	@git diff --exit-code --stat -- crds charts/savepoint/templates/crds || { echo "the CRDs differ from the types: run make generate and commit" >&2; exit 1; }

.PHONY: need-rust
need-rust:
	@command -v cargo >/dev/null || { \
		echo "Rust is missing; install it with" >&2; \
		echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2; \
		exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing; install it with: sudo apt-get install build-essential" >&2; exit 1; }
	@command -v git >/dev/null || { echo "git is missing; install it with: sudo apt-get install git" >&2; exit 1; }
	@command -v setpriv >/dev/null || { echo "setpriv is missing; install it with: sudo apt-get install util-linux" >&2; exit 1; }

.PHONY: need-postgres
need-postgres:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
		echo "PostgreSQL is missing; installing it: apt-get install postgresql"; \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
		$$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql; } || { \
		echo "PostgreSQL is missing; install it with: sudo apt-get install postgresql" >&2; \
		exit 1; }
