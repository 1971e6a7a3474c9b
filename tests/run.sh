#!/usr/bin/env bash
# Runs the tests of rallypoint: `tests/run.sh` all of them, `tests/run.sh unit vectors` these groups.
#
#   SKIP="browser arena" tests/run.sh     leaves groups out; it is the only way to leave something out
#   FUZZ_SECONDS=120 tests/run.sh fuzz    for each target, in place of 10
#
# A group is a function `group_<name>` below. It says how many of its checks passed, failed and were
# skipped with `count`, mostly through `step` (one command is one check) or `counted` (a test runner,
# whose own figures are read from its output). The last line sums up over the groups:
#
#   N passed, N failed, N skipped
#
# The exit status is 0 only if nothing failed and something passed.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/packages.sh
. packaging/tools.sh
. tests/deploy/machine.sh
. tests/deploy/package.sh
GROUPS_OF_ALL=(pages check build unit integration doc example-config vectors contract client conformance browser cluster arena history bench dist deb image monitor fuzz)
# Known by name, and run only when they are named.
GROUPS_ON_DEMAND=(nodes chaos restart soak hostile stalled overload)
BUILT=${BUILT:-}
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")
SCRATCH=$(mktemp -d)
SERVER_PID=
trap 'stop_server; stop_machine; rm -rf "$SCRATCH"' EXIT
trap 'exit 130' INT TERM

# Settings of a server in the developer's shell are no part of a test.
while read -r name; do unset "$name"; done < <(compgen -e RALLYPOINT_ || true)

# ---------------------------------------------------------------------------------------- counting

# count PASSED FAILED [SKIPPED]
count() { echo "$1 $2 ${3:-0}" >>"$SCRATCH/counts"; }

# step NAME COMMAND…: one check, good if the command succeeds.
step() {
  local name=$1 status=0
  shift
  echo "--- $name"
  "$@" || status=$?
  if ((status == 0)); then count 1 0; else count 0 1 && echo "FAILED  $name (exit $status)"; fi
}

# counted READER COMMAND…: a test runner. READER turns its output into "passed failed skipped".
# A runner that ends badly without naming a failure (it did not compile, it crashed) is one failure,
# and so is one that found nothing to run.
counted() {
  local reader=$1 status=0 passed failed skipped
  shift
  "$@" 2>&1 | tee "$SCRATCH/output" || status=$?
  read -r passed failed skipped < <(sed 's/\x1b\[[0-9;]*m//g' "$SCRATCH/output" | "$reader")
  if ((failed == 0 && (status != 0 || passed == 0))); then
    failed=1
    echo "FAILED  $* (exit $status, $passed passed)"
  fi
  count "$passed" "$failed" "$skipped"
}

# "test result: ok. 12 passed; 0 failed; 1 ignored; …", one for each test program.
read_cargo_test() {
  awk '/^test result:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i - 1)
         if ($i ~ /^failed/) f += $(i - 1); if ($i ~ /^ignored/) s += $(i - 1) } } END { print p + 0, f + 0, s + 0 }'
}

# "Summary [ 1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 1 timed out, 2 skipped". What nextest skips is what the
# source marks as ignored, and with FILTERED also what nobody asked for, so that it is not counted.
read_nextest() {
  awk -v filtered="${FILTERED:-}" '/^ *Summary \[/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i - 1)
         if ($i ~ /^(failed|errored)/) f += $(i - 1); if ($i == "timed") f += $(i - 1)
         if ($i == "exec") f += $(i - 1); if ($i ~ /^skipped/ && !filtered) s += $(i - 1) } } END { print p + 0, f + 0, s + 0 }'
}

# "12 passed, 0 failed": the last line of our own runners.
read_node() {
  awk '/^[0-9]+ passed, [0-9]+ failed$/ { p = $1; f = $3 } END { print p + 0, f + 0, 0 }'
}

# "# pass 12", "# fail 0", "# skipped 1" of Node's own runner, in either of its two reports.
read_node_test() {
  awk '$1 == "#" || $1 == "ℹ" { if ($2 == "pass") p += $3; if ($2 == "fail" || $2 == "cancelled") f += $3
         if ($2 == "skipped" || $2 == "todo") s += $3 } END { print p + 0, f + 0, s + 0 }'
}

# ------------------------------------------------------------------------------------------ groups

# Before everything that builds the server, which takes the pages in.
group_pages() {
  npm_ci clients/pages
  step "types of the pages" npm run --silent --prefix clients/pages check
  step "the pages, each small enough" clients/build.sh
}

group_check() {
  step "cargo fmt" cargo fmt --all --check
  step "cargo fmt of the fuzz targets" cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
  step "clippy" cargo clippy --workspace --all-targets --quiet -- -D warnings
  step "rustdoc" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
  step "JavaScript syntax" javascript_syntax
}

# Every later group uses what this one built. One build of everything, so that cargo chooses the
# features of the dependencies once.
group_build() { step "cargo build" cargo build --workspace --all-targets; }

# Everything in the workspace but the server's integration tests.
group_unit() {
  local targets
  mapfile -t targets < <(test_targets other)
  rust_tests --lib --bins --examples "${targets[@]}"
}

group_integration() {
  local targets
  mapfile -t targets < <(test_targets server)
  rust_tests "${targets[@]}"
}

# What of it concerns engines and nodes; `make test-cluster`.
group_nodes() { FILTERED=1 rust_tests --test integration -- broker:: nodes::; }

group_doc() { counted read_cargo_test cargo test --workspace --doc --no-fail-fast; }

# The example file is complete, its defaults are good values, and a missing key is told.
group_example-config() {
  build
  local check=("$TARGET/debug/rallypoint" check-config)
  local keyed=(env RALLYPOINT_AUTH__AUDIENCE=example RALLYPOINT_AUTH__KEYS__0__ALGORITHM=HS256
    RALLYPOINT_AUTH__KEYS__0__SECRET=0123456789abcdef0123456789abcdef)
  sed 's/^#\([a-z_]* = \)/\1/' rallypoint.example.toml >"$SCRATCH/defaults.toml"
  sed 's/^frame = .*/frame = "big"/' "$SCRATCH/defaults.toml" >"$SCRATCH/wrong.toml"
  step "the example, with a key" "${keyed[@]}" "${check[@]}" rallypoint.example.toml
  step "the example's defaults, spelled out" "${keyed[@]}" "${check[@]}" "$SCRATCH/defaults.toml"
  step "without a key it is refused" refused "auth.keys" "${check[@]}" rallypoint.example.toml
  step "a wrong value is named" refused "limits.frame" "${keyed[@]}" "${check[@]}" "$SCRATCH/wrong.toml"
}

# The golden frames against an implementation that shares no code with ours.
group_vectors() {
  npm_ci tests/vectors
  counted read_node node tests/vectors/check.mjs
  step "the checker finds planted faults" node tests/vectors/check.mjs --self-test
}

# The documents in protocol/ against running servers: requests that nobody thought of, and what is answered.
group_contract() {
  npm_ci tests/contract
  build
  python_tools contract tests/contract/requirements.txt
  local python=$TARGET/tools/contract/bin/python binary=$TARGET/debug/rallypoint secret=0123456789abcdef0123456789abcdef
  local formal=("$python" tests/contract/formal.py tests/contract/node_modules/@asyncapi/specs/schemas/3.0.0.json)
  step "OpenAPI and AsyncAPI are well formed" "${formal[@]}"
  step "faults of form are found" "${formal[@]}" --self-test
  # 429 is not all there is to see.
  local -x RALLYPOINT_LIMITS__{ACCEPTS_PER_SECOND_PER_IP,ACCEPTS_BURST_PER_IP}=2000
  local -x RALLYPOINT_LIMITS__{,ICE_}REQUESTS_PER_SECOND_PER_USER=2000 RALLYPOINT_LIMITS__{,ICE_}REQUESTS_BURST_PER_USER=2000
  local -x RALLYPOINT_LIMITS__{REQUESTS_PER_SECOND_PER_IP,REQUESTS_BURST_PER_IP}=4000
  local -x PYTHONPATH=tests/contract SCHEMATHESIS_HOOKS=hooks CONTRACT_SECRET=$secret
  local all=(--user operator --role host --room '*' --notify '*' --admin) token
  step "a server for trying things out" start_server "$binary" serve --dev --listen 127.0.0.1:0
  token=$("$binary" token "${all[@]}")
  # Metrics and status are open there.
  step "all that may be asked of it" ask_server "$token" --exclude-checks ignored_auth
  step "it has not panicked" unspoken panicked "$SCRATCH/server.log"
  stop_server
  local -x RALLYPOINT_AUTH__AUDIENCE=rallypoint RALLYPOINT_AUTH__KEYS__0__ALGORITHM=HS256 RALLYPOINT_AUTH__KEYS__0__SECRET=$secret
  step "a server as others run it" start_server "$binary" serve --listen 127.0.0.1:0
  token=$("$binary" token "${all[@]}" --key env:CONTRACT_SECRET)
  # Where tokens are not made for the asking there is no such path, whatever the method.
  local -r elsewhere=(--exclude-operation-id makeToken)
  step "all that may be asked of it" ask_server "$token" "${elsewhere[@]}"
  counted read_node "$python" tests/contract/planted.py "$TARGET/tools/contract/bin/schemathesis" "http://$ADDRESS" "$token"
  token=$("$binary" token --user stranger --role spectator --room elsewhere --key env:CONTRACT_SECRET)
  step "what a token without rights is answered" ask_server "$token" "${elsewhere[@]}" --phases examples,coverage
  step "what no token is answered" ask_server "" "${elsewhere[@]}" --phases examples,coverage
  step "it has not panicked" unspoken panicked "$SCRATCH/server.log"
  stop_server
}

# The npm package: its types, its unit tests and golden frames, itself against a server, its calls in a browser, its size
# and its documentation. Then what of the pages needs no browser.
group_client() {
  npm_ci clients/typescript
  npm_ci clients/pages
  npm_ci tests/browser
  build
  RALLYPOINT_BIN=$TARGET/debug/rallypoint counted read_node_test npm test --silent --prefix clients/typescript
  step "the package, and its size" npm run --silent --prefix clients/typescript build
  step "its documentation" npm run --silent --prefix clients/typescript docs
  CHROMIUM=$(browser) RALLYPOINT_BIN=$TARGET/debug/rallypoint counted read_node npm run --silent --prefix clients/typescript test:browser
  counted read_node_test npm test --silent --prefix clients/pages
}

# What parses foreign bytes, with bytes that nobody thought of. The targets are built with flags of
# their own, so the first time takes minutes.
group_fuzz() {
  local host
  host=$(rustc -vV | sed -n 's/^host: //p')
  cargo_tool cargo-fuzz 0.13.2
  # Sanitizers would need a nightly compiler. Ours is safe code, and the targets count memory themselves.
  "$TARGET/tools/bin/cargo-fuzz" fuzz build --fuzz-dir tests/fuzz --target-dir "$TARGET/fuzz" --sanitizer none
  step "the seeds" node tests/fuzz/corpus.mjs tests/fuzz/corpus
  # The short form tries the same every time, so that a change fails for what it changes; 0 is another seed each time.
  local seed=1
  [[ -z ${FUZZ_SECONDS:-} ]] || seed=0
  counted read_node tests/fuzz/run.sh "${FUZZ_SECONDS:-10}" "$TARGET/fuzz/$host/release" "$seed"
}

# The Autobahn cases against the connection code, as the echo that only this example can be.
group_conformance() {
  build
  python_tools conformance tests/conformance/requirements.txt
  step "the judge finds planted faults" node tests/conformance/judge.mjs --self-test
  step "the server's own program does not ask for the echo" unspoken echoing src/main.rs src/command src/config
  step "the echo" start_server "$TARGET/debug/examples/echo"
  # Its own status is no verdict: what it lets pass is not what we do.
  "$TARGET/tools/conformance/bin/kosoku" -m fuzzingclient -p 4 -x '12.*' -x '13.*' -o "$SCRATCH/conformance" \
    "ws://$ADDRESS/v1/ws" || true
  stop_server
  counted read_node node tests/conformance/judge.mjs "$SCRATCH/conformance/index.json"
}

group_browser() {
  npm_ci tests/browser
  build
  CHROMIUM=$(browser) FIREFOX=$(firefox) RALLYPOINT_BIN=$TARGET/debug/rallypoint \
    counted read_node node tests/browser/run.mjs
}

# Two nodes, their Redis and nginx as `make run-cluster` runs them.
group_cluster() {
  build
  counted read_node node tests/cluster/check.mjs
}

# Eight players for 10 s, both move lanes, a real server. `make arena` sets BUILT=release, and ARENA
# holds further options ("--rate 60").
group_arena() {
  [[ -n $BUILT ]] || build
  local built=$TARGET/${BUILT:-debug}
  step "the arena's server" start_server "$built/rallypoint" serve --dev --listen 127.0.0.1:0
  step "the arena" "$built/examples/arena" --url "ws://$ADDRESS/v1/ws" --token-from "http://$ADDRESS/dev/token" \
    --origin "http://$ADDRESS" ${ARENA:-}
  stop_server
}

# Clients of every kind behind a proxy that cuts their connections, and a server that is restarted. `make history`
# sets BUILT=release and N=10000; SEED has a run again.
group_history() {
  [[ -n $BUILT ]] || build
  local built=$TARGET/${BUILT:-debug}
  local history=("$built/history" --server "$built/rallypoint" --n "${N:-300}" --seed "${SEED:-}" --out "$TARGET")
  step "the history" "${history[@]}"
  step "the history over TLS" "${history[@]}" --tls
  step "an echo, in the clear and over TLS" "$built/echo" --server "$built/rallypoint"
}

# The benchmarks as they are shortest: every payload arrives, and nothing is asked about time. `make bench` and `make
# compare` measure.
group_bench() {
  [[ -n $BUILT ]] || build
  local built=$TARGET/${BUILT:-debug}
  step "the workloads of the benchmark" "$built/bench" --quick --alone --out "$SCRATCH/bench"
  step "the transports beside each other" "$built/compare" --quick --out "$SCRATCH/bench"
}

# What a release consists of, made of what was built for the tests; `make dist` makes one that is optimised.
group_dist() {
  build
  local dist=$SCRATCH/dist
  step "the release" env BUILT=debug OUT="$dist" packaging/dist.sh
  step "the archive is whole" strictly dist_holds "$dist"
  step "the bill of materials" strictly bill_names "$dist"/*.cdx.json
  step "the unit" strictly unit_verified "$TARGET/debug/rallypoint"
  step "a unit without its sandbox is found" strictly loose_unit_refused
}

# The Debian package on a machine of its own: installed, upgraded under load, removed, purged. This machine stays as it is.
group_deb() {
  local missing shared=$SCRATCH/mnt
  missing=$(machine_missing)
  if [[ -n $missing ]]; then
    echo "skipped: $missing"
    count 0 0 1
    return
  fi
  build
  mkdir "$shared"
  step "the package" env BUILT=debug packaging/deb.sh "$shared/old.deb"
  step "a later one of the same program" env BUILT=debug packaging/deb.sh "$shared/new.deb" 999.0.0-1
  cp "$TARGET/debug/restart" tests/deploy/checks.sh "$shared"
  step "a machine" start_machine "$shared"
  in_package is_installed_and_started unit_is_as_systemd_wants_it server_is_locked_in secrets_are_nobodys_business \
    only_tokens_of_the_secret_let_in reload_keeps_the_process upgrade_under_load_brings_everybody_back \
    port_443_takes_one_capability wrong_configuration_is_told removal_leaves_configuration_and_nothing_else \
    purge_leaves_nothing works_without_systemd
  stop_machine
}

# What is in the container's image, started as it would be in one; no engine builds it.
group_image() {
  build
  counted read_node node tests/deploy/containerfile.mjs
  step "its reader finds planted faults" node tests/deploy/containerfile.mjs --self-test
  local missing
  missing=$(machine_missing)
  if [[ -n $missing ]]; then
    echo "skipped, the image itself: $missing"
    count 0 0 1
    return
  fi
  step "what is in the image starts and answers" strictly image_answers "$TARGET/debug/rallypoint"
}

# The dashboard and the alerts before a Prometheus that asks a server.
group_monitor() {
  local tools
  build
  tools=$(prometheus_tools)
  step "the alerts are rules" "$tools/promtool" check rules docs/deploy/alerts.yml
  step "each fires when it should" "$tools/promtool" test rules tests/deploy/alerts.test.yml
  PROMETHEUS=$tools RALLYPOINT_BIN=$TARGET/debug/rallypoint counted read_node node tests/deploy/monitor.mjs
}

# Nodes and engines that are killed and frozen while everybody talks; `make chaos`.
group_chaos() {
  [[ -n $BUILT ]] || build
  local built=$TARGET/${BUILT:-debug}
  step "chaos" "$built/chaos" --server "$built/rallypoint" --rooms "${ROOMS:-10}" --rounds "${ROUNDS:-1}" \
    --outage "${OUTAGE:-0}" --seed "${SEED:-}" --out "$TARGET"
}

# 1500 WebSockets, 300 event streams and 200 polls while the server is restarted; `make restart`.
group_restart() {
  [[ -n $BUILT ]] || build
  local built=$TARGET/${BUILT:-debug}
  step "a restart under load" "$built/restart" --server "$built/rallypoint"
}

# Guests come and go for MINUTES, and nothing of them may stay behind; `make soak`.
group_soak() {
  [[ -n $BUILT ]] || build
  local built=$TARGET/${BUILT:-debug}
  step "the soak" "$built/soak" --server "$built/rallypoint" --minutes "${MINUTES:-20}"
}

# Attack after attack next to a normal pair; `make hostile`. ONLY is a word of the names of some.
group_hostile() {
  [[ -n $BUILT ]] || build
  local built=$TARGET/${BUILT:-debug}
  step "hostile clients" "$built/hostile" --server "$built/rallypoint" --only "${ONLY:-}"
}

# Rooms with members that stop reading, PAIRS times with and without them; `make stalled`.
group_stalled() {
  [[ -n $BUILT ]] || build
  local built=$TARGET/${BUILT:-debug}
  step "stalled members" "$built/stalled" --server "$built/rallypoint" --pairs "${PAIRS:-3}"
}

# Three times as many guests as there is room for, at each ceiling; `make overload`. QUICK=1 is smaller and asks nothing
# about time.
group_overload() {
  [[ -n $BUILT ]] || build
  local built=$TARGET/${BUILT:-debug}
  step "more guests than there is room for" "$built/overload" --server "$built/rallypoint" --only "${ONLY:-}" \
    --rounds "${ROUNDS:-3}" ${QUICK:+--quick}
}

# ------------------------------------------------------------------------------------ what they use

build() { cargo build --workspace --all-targets --quiet; }

# rust_tests TARGETS…: with nextest where it is installed (it runs every test in a process of its own).
rust_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    counted read_nextest cargo nextest run --workspace --no-fail-fast "$@"
  else
    counted read_cargo_test cargo test --workspace --no-fail-fast "$@"
  fi
}

# test_targets server|other: `--test NAME` for the test programs of the server, or of the other packages.
test_targets() {
  cargo metadata --no-deps --format-version 1 | node -e '
    const { packages } = JSON.parse(require("fs").readFileSync(0, "utf8"));
    for (const { name, targets } of packages)
      if ((name === "rallypoint") === (process.argv[1] === "server"))
        for (const target of targets) if (target.kind.includes("test")) console.log(`--test\n${target.name}`);
  ' "$1"
}

# Files named .js are modules here, which node only believes when they come on standard input.
javascript_syntax() {
  local file bad=0 files
  mapfile -t files < <(find clients tests \( -name node_modules -o -name dist -o -name build -o -name docs \) -prune -o \( -name '*.js' -o -name '*.mjs' \) -print | sort)
  ((${#files[@]} > 0)) || return 1
  for file in "${files[@]}"; do
    node --check --input-type=module - <"$file" || { echo "in $file" && bad=1; }
  done
  echo "${#files[@]} files"
  return $bad
}

# refused TEXT COMMAND…: the command must fail with status 1, and say TEXT.
refused() {
  local text=$1 status=0
  shift
  "$@" >"$SCRATCH/refusal" 2>&1 || status=$?
  cat "$SCRATCH/refusal"
  ((status == 1)) && grep -qF -- "$text" "$SCRATCH/refusal"
}

# unspoken WORD PATH…: the word is in none of the files.
unspoken() {
  local status=0
  grep -rnw -- "$@" || status=$?
  ((status == 1))
}

# python_tools NAME REQUIREMENTS: installs what the file pins, by its hashes, into target/tools/NAME, unless that is what is
# there.
python_tools() {
  local folder=$TARGET/tools/$1
  cmp -s "$2" "$folder/.installed" && return
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$2"
  cp "$2" "$folder/.installed"
}

# ask_server TOKEN OPTION…: schemathesis asks the server at ADDRESS, with a token or, if that is empty, without.
ask_server() {
  local token=()
  [[ -z $1 ]] || token=(-H "Authorization: Bearer $1")
  shift
  "$TARGET/tools/contract/bin/schemathesis" --config-file tests/contract/schemathesis.toml run protocol/openapi.json \
    --url "http://$ADDRESS" "${token[@]}" "$@"
}

# The browsers: FIREFOX and CHROMIUM if they are set, else what a distribution calls them.
firefox() {
  if [[ -n ${FIREFOX:-} ]]; then command -v "$FIREFOX"; else command -v firefox-esr || command -v firefox; fi
}

browser() {
  if [[ -n ${CHROMIUM:-} ]]; then command -v "$CHROMIUM"; else
    command -v chromium || command -v chromium-browser || command -v google-chrome
  fi
}

# start_server COMMAND…: waits until it says where it listens; sets ADDRESS. Ended by `stop_server`.
start_server() {
  local log=$SCRATCH/server.log
  # What the server before it said would do for its address.
  : >"$log"
  "$@" >"$log" 2>&1 </dev/null &
  SERVER_PID=$!
  for _ in {1..200}; do
    ADDRESS=$(sed -n 's|.*listens on http://\([^/ ]*\).*|\1|p' "$log")
    [[ -n $ADDRESS ]] && return
    kill -0 "$SERVER_PID" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log"
  return 1
}

stop_server() {
  [[ -n $SERVER_PID ]] || return 0
  kill "$SERVER_PID" 2>/dev/null || true
  wait "$SERVER_PID" 2>/dev/null || true
  SERVER_PID=
}

# ------------------------------------------------------------------------------------ prerequisites

# need_packages: every group needs node to look at JavaScript or at JSON; some need a browser or Python.
need_packages() {
  command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or later, see https://rustup.rs"
  local packages=()
  command -v cc >/dev/null && command -v c++ >/dev/null || packages+=(build-essential)
  mapfile -t -O "${#packages[@]}" packages < <(node_packages)
  if { wanted conformance || wanted contract; } && ! python3 -c 'import venv, ensurepip' 2>/dev/null; then packages+=(python3-venv); fi
  if { wanted browser || wanted client; } && ! browser >/dev/null; then
    [[ -z ${CHROMIUM:-} ]] || fail "CHROMIUM=$CHROMIUM is no program"
    packages+=(chromium)
  fi
  if wanted unit || wanted integration || wanted nodes || wanted cluster || wanted bench; then
    command -v redis-server >/dev/null || packages+=(redis-server)
    command -v redis-cli >/dev/null || packages+=(redis-tools)
  elif wanted browser; then
    command -v redis-server >/dev/null || packages+=(redis-server)
  fi
  if wanted browser || wanted cluster; then command -v nginx >/dev/null || packages+=(nginx); fi
  if wanted browser; then
    command -v turnserver >/dev/null || packages+=(coturn)
    command -v openssl >/dev/null || packages+=(openssl)
    if ! firefox >/dev/null; then
      [[ -z ${FIREFOX:-} ]] || fail "FIREFOX=$FIREFOX is no program"
      packages+=(firefox-esr)
    fi
  fi
  if wanted dist || wanted deb || wanted image; then
    command -v strip >/dev/null || packages+=(binutils)
    command -v systemd-analyze >/dev/null || packages+=(systemd)
  fi
  if { wanted deb || wanted image; } && [[ -z $(machine_missing) ]]; then
    command -v systemd-nspawn >/dev/null || packages+=(systemd-container)
    command -v curl >/dev/null || packages+=(curl)
    command -v adduser >/dev/null || packages+=(adduser)
    command -v ip >/dev/null || packages+=(iproute2)
    command -v pgrep >/dev/null || packages+=(procps)
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || packages+=(ca-certificates)
  fi
  ((${#packages[@]} == 0)) || install "${packages[@]}"
  new_node
}

# ---------------------------------------------------------------------------------------- the run

contains() { local word=$1 each; shift; for each; do [[ $each == "$word" ]] && return; done; return 1; }
wanted() { contains "$1" "${RUN[@]}" && ! contains "$1" $SKIP; }

# run_group NAME: in a subshell of its own, so that a command that fails ends the group and not the run.
run_group() {
  local name=$1 start=$SECONDS status=0 sums
  printf '\n=== %s\n' "$name"
  : >"$SCRATCH/counts"
  set +e
  (
    trap 'stop_server; stop_machine' EXIT
    set -e
    "group_$name"
  )
  status=$?
  set -e
  if ((status == 0)) && [[ ! -s $SCRATCH/counts ]]; then status=1; fi
  if ((status != 0)); then echo "FAILED  the group $name (exit $status)" && count 0 1; fi
  sums=$(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$SCRATCH/counts")
  report "$name" $((SECONDS - start)) $sums
}

# report NAME SECONDS PASSED FAILED SKIPPED
report() {
  printf -- '=== %s: %d passed, %d failed, %d skipped (%d s)\n' "$1" "$3" "$4" "$5" "$2"
  printf '%-16s %6d %6d %7d %7d s\n' "$1" "$3" "$4" "$5" "$2" >>"$SCRATCH/table"
  PASSED=$((PASSED + $3)) FAILED=$((FAILED + $4)) SKIPPED=$((SKIPPED + $5))
}

SKIP=${SKIP:-}
RUN=("$@")
((${#RUN[@]} > 0)) || RUN=("${GROUPS_OF_ALL[@]}")
for name in "${RUN[@]}" $SKIP; do
  contains "$name" "${GROUPS_OF_ALL[@]}" "${GROUPS_ON_DEMAND[@]}" ||
    fail "there is no group '$name'; there are: ${GROUPS_OF_ALL[*]} ${GROUPS_ON_DEMAND[*]}"
done

PASSED=0 FAILED=0 SKIPPED=0
need_packages
for name in "${RUN[@]}"; do
  if wanted "$name"; then
    run_group "$name"
  else
    printf '\n=== %s is left out by SKIP\n' "$name"
    report "$name" 0 0 0 1
  fi
done

printf '\n%-16s %6s %6s %7s %9s\n' group passed failed skipped time
cat "$SCRATCH/table"
printf '\n%d s in all\n%d passed, %d failed, %d skipped\n' "$SECONDS" "$PASSED" "$FAILED" "$SKIPPED"
((FAILED == 0 && PASSED > 0))
