#!/usr/bin/env bash
# Runs the fuzz targets one after the other: `run.sh SECONDS FOLDER SEED`, where FOLDER has the built targets and SEED
# is libFuzzer's: 0 is another one each time. `make fuzz` and tests/run.sh build them and call this.
#
# Each target first replays what was once found (regressions/), then starts from its corpus. What it
# finds is kept in artifacts/, and the next targets still run. The last lines sum up.
set -euo pipefail

seconds=$1
built=$(realpath "$2")
seed=$3
cd "$(dirname "$0")"
mapfile -t targets < <(sed -n '/^\[\[bin\]\]/{n;s/^name = "\(.*\)"/\1/p}' Cargo.toml)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# The bound on the process is wide; what one input may take is bounded in the targets (src/lib.rs).
options=(-max_len=4096 -use_value_profile=1 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1)

# failed TARGET WHAT: what went wrong, without the parts of a backtrace that fill the screen.
failed() {
  echo "FAILED  $1: $2"
  grep -a -A 8 ' panicked at ' "$log" | cut -c 1-300 | head -20 || true
  grep -a -E 'ERROR: libFuzzer|Test unit written|^Running:' "$log" | tail -3 || true
  crashes=$((crashes + 1))
}

runs=0 crashes=0
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "artifacts/$target"
  found=(regressions/"$target"/*)
  if [[ -e ${found[0]} ]] && ! "$built/$target" "${options[@]}" "${found[@]}" >"$log" 2>&1; then
    failed "$target" "something is back that was mended once"
    continue
  fi
  status=0
  "$built/$target" "corpus/$target" "${options[@]}" -max_total_time="$seconds" -seed="$seed" \
    -artifact_prefix="artifacts/$target/" >"$log" 2>&1 || status=$?
  count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  runs=$((runs + ${count:-0}))
  if ((status != 0)); then
    failed "$target" "exit $status; to see it again: $built/$target tests/fuzz/artifacts/$target/…"
  elif ((${count:-0} == 0)); then
    failed "$target" "nothing ran"
  else
    echo "$target: $count executions, $(find "corpus/$target" -type f | wc -l) inputs in the corpus"
  fi
done
echo "fuzz: ${#targets[@]} targets, $runs executions, $crashes crashes, $seconds s each"
echo "$((${#targets[@]} - crashes)) passed, $crashes failed"
((crashes == 0))
