#!/bin/sh
# One of eight players stops reading for 5 s while every other offers 2 KB moves at 200/s: what it
# gets when it wakes, what the server kept for it meanwhile, and what it cost the others.
# Needs curl. Starts its own server on a free port and stops it.
set -eu
cd "$(dirname "$0")/../.."
cargo build --release --quiet -p rallypoint -p rallypoint-client --bin rallypoint --example arena

said=$(mktemp)
server=
stop() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || :
    rm -f "$said"
}
trap stop EXIT INT TERM

budget=262144
RALLYPOINT_LIMITS__MOVES_PER_SECOND=1000 RALLYPOINT_LIMITS__MOVES_BURST=1000 \
RALLYPOINT_LIMITS__BYTES_PER_SECOND=4000000 RALLYPOINT_LIMITS__OUTBOUND_BUDGET=$budget \
RALLYPOINT_LOG__FILTER=warn \
    target/release/rallypoint serve --dev --listen 127.0.0.1:0 >"$said" 2>/dev/null &
server=$!
while ! grep -q 'listens on' "$said"; do
    kill -0 "$server" || { echo "the server does not start" >&2; exit 1; }
    sleep 0.1
done
base=$(sed -n 's|.*listens on \(http://[^/]*\)/.*|\1|p' "$said")

target/release/examples/arena --url "$base" --token-from "$base" \
    --compare-stall 5 --rate 200 --size 2000 --seconds 10 "$@"

counter() { curl -s "$base/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }
replaced=$(counter rallypoint_moves_replaced_total)
waited=$(counter rallypoint_outbox_bytes_max)
slow=$(counter 'rallypoint_closes_total{code="4002"}')
echo "stall: $replaced moves replaced, at most $waited of $budget bytes waited for one player, ${slow:-0} closed as slow"
[ "$replaced" -gt 0 ] && [ "$waited" -gt 0 ] && [ "$waited" -le "$budget" ] && [ "${slow:-0}" -eq 0 ]
