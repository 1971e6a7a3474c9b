# The whole day's work. `make` alone lists the targets.

.DEFAULT_GOAL := help
.PHONY: help run run-cluster pages test test-fast test-cluster check fuzz conformance contract build-release dist arena history chaos restart soak hostile stalled overload echo bench compare memory bench-nodes stall clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: pages ## build and run the server on http://localhost:3000, for trying things out
	cargo run -- serve --dev

run-cluster: pages ## build and run a Redis, two nodes and a balancer before them, for trying things out (PORT=3000)
	cargo build
	@PORT="$(PORT)" exec tests/cluster/run.sh

pages: ## build the pages that the server's binary takes in (clients/pages, with Node.js)
	@clients/build.sh

test: ## run every test (SKIP="browser arena" leaves groups out)
	@tests/run.sh

test-fast: ## format, lints, unit, protocol and client tests, golden frames; under 3 minutes
	@tests/run.sh pages check unit doc vectors

test-cluster: ## what concerns several nodes: the engines and nodes of the integration tests, and the site of run-cluster
	@tests/run.sh nodes cluster

check: ## format, clippy, rustdoc and JavaScript syntax, all without warnings
	@tests/run.sh check

fuzz: ## two minutes of fuzzing for each target (SECONDS=600)
	@FUZZ_SECONDS=$(or $(SECONDS),120) tests/run.sh fuzz

contract: ## what running servers answer, by the documents in protocol/: no status, code or shape that is not there
	@tests/run.sh contract

conformance: ## the 301 Autobahn cases against the connection code
	@tests/run.sh conformance

build-release: pages ## build target/release/rallypoint
	cargo build --release

dist: ## what a release consists of, in target/dist: archive, Debian package, bill of materials, sums (OUT=folder)
	@$(if $(OUT),OUT="$(OUT)") packaging/dist.sh

arena: build-release ## eight players for 10 s against a release server: promises and latencies (ARENA="--rate 60")
	cargo build --release --package rallypoint-client --example arena
	@BUILT=release tests/run.sh arena

history: build-release ## cut clients off 10000 times, restart the server, and prove that nothing was lost (N=300 SEED=7)
	cargo build --release --package rallypoint-proof
	@BUILT=release N=$(or $(N),10000) SEED=$(SEED) tests/run.sh history

chaos: build-release ## nodes on a Redis Cluster are killed and frozen while 800 members talk: what is lost, how long it takes (ROOMS=100 ROUNDS=1 OUTAGE=60 SEED=7)
	cargo build --release --package rallypoint-proof
	@BUILT=release ROOMS=$(or $(ROOMS),100) ROUNDS=$(or $(ROUNDS),1) OUTAGE=$(or $(OUTAGE),0) SEED=$(SEED) tests/run.sh chaos

restart: build-release ## restart the server under 2000 clients: who comes back, when, and as whom
	cargo build --release --package rallypoint-proof
	@BUILT=release tests/run.sh restart

soak: build-release ## guests come and go for 20 minutes; gauges add up, memory does not grow (MINUTES=5)
	cargo build --release --package rallypoint-proof
	@BUILT=release MINUTES=$(or $(MINUTES),20) tests/run.sh soak

hostile: build-release ## attack after attack next to a normal pair: what is answered, what stays behind (ONLY="flood")
	cargo build --release --package rallypoint-proof
	@BUILT=release ONLY="$(ONLY)" tests/run.sh hostile

stalled: build-release ## members that stop reading: memory, and what the others notice (PAIRS=3)
	cargo build --release --package rallypoint-proof
	@BUILT=release PAIRS=$(or $(PAIRS),3) tests/run.sh stalled

overload: build-release ## three times as many guests as there is room for: what old and new ones notice (ONLY="memory" ROUNDS=3 QUICK=1)
	cargo build --release --package rallypoint-proof
	@BUILT=release ONLY="$(ONLY)" ROUNDS=$(or $(ROUNDS),3) QUICK="$(QUICK)" tests/run.sh overload

echo: build-release ## the round trip of one message, in the clear and over TLS
	cargo build --release --package rallypoint-proof
	@"$${CARGO_TARGET_DIR:-target}/release/echo" --server "$${CARGO_TARGET_DIR:-target}/release/rallypoint"

bench: ## this server next to the field, workload by workload (QUICK=1 ONLY="fan-out" PAIRS=7 OUT=folder)
	@tests/bench/run.sh $(if $(QUICK),--quick) --pairs $(or $(PAIRS),7) --only "$(ONLY)" $(if $(OUT),--out "$(OUT)")

compare: build-release ## 100 messages to 1000 spectators over short poll, long poll, SSE and WebSocket (QUICK=1 RUNS=5 OUT=folder)
	cargo build --release --package rallypoint-bench
	@ulimit -n "$$(ulimit -Hn)"; exec "$${CARGO_TARGET_DIR:-target}/release/compare" \
		$(if $(QUICK),--quick) --runs $(or $(RUNS),3) $(if $(OUT),--out "$(OUT)")

memory: ## memory for each of 10000 idle WebSockets that joined a room
	@tests/bench/run.sh --alone --pairs 1 --only "idle WebSockets"

bench-nodes: ## two nodes on one Redis: an event from one to the other next to a bare PUBLISH, and a log that is replayed (PAIRS=7 QUICK=1)
	@tests/bench/run.sh --alone $(if $(QUICK),--quick) --pairs $(or $(PAIRS),7) --only "two nodes"

stall: build-release ## one player stops reading: what it and the others notice
	@tests/bench/stall.sh

clean: ## remove everything that was built, installed or drawn by the tests
	cargo clean
	rm -rf tests/*/node_modules tests/browser/out tests/fuzz/artifacts tests/fuzz/corpus tests/fuzz/target
