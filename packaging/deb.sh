#!/usr/bin/env bash
# Makes the Debian package of what is built: packaging/deb.sh OUT [VERSION], a file or a folder with a slash behind it.
# BUILT=debug is for tests: quickly packed, and the pages stay where they were built.
set -euo pipefail

cd "$(dirname "$0")/.."
. packaging/tools.sh
cargo_tool cargo-deb 3.8.0

options=(--profile release)
[[ ${BUILT:-release} == release ]] || options=(--profile dev --fast)
[[ -z ${2:-} ]] || options+=(--deb-version "$2")
exec "$(realpath -m "${CARGO_TARGET_DIR:-target}")/tools/bin/cargo-deb" deb --no-build --locked --quiet --strip \
  --no-separate-debug-symbols "${options[@]}" --output "$1"
