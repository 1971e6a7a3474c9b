#!/usr/bin/env bash
# Installs who is measured beside rallypoint, builds, and measures: `run.sh [OPTIONS OF bench]`; see `bench --help`.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ " $* " != *" --alone "* ]]; then
  if ! command -v nginx >/dev/null || [[ ! -e /usr/lib/nginx/modules/ngx_nchan_module.so ]] || ! command -v redis-server >/dev/null; then
    packages=(nginx libnginx-mod-nchan redis-server)
    if ((EUID != 0)); then
      echo "nginx with nchan or Redis is missing: sudo apt-get install --no-install-recommends ${packages[*]}" >&2
      exit 1
    fi
    apt-get install -y --no-install-recommends "${packages[@]}" >/dev/null
  fi
  (cd tests/bench/peers && npm ci --no-audit --no-fund --silent)
fi
cargo build --release --quiet --package rallypoint --package rallypoint-bench
# A descriptor for each of 10 000 guests, here and in the servers.
ulimit -n "$(ulimit -Hn)"
exec "${CARGO_TARGET_DIR:-target}/release/bench" "$@"
