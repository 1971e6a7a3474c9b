#!/usr/bin/env bash
# Builds the pages into clients/pages/dist, which the server's binary takes in. Does nothing when they are up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/packages.sh

PAGES=clients/pages
CLIENT=clients/typescript
STAMP=$PAGES/dist/.built-from

# What the pages are made of, as one checksum: times say nothing after a checkout.
sources() {
  find "$PAGES" "$CLIENT" \( -name node_modules -o -name dist -o -name build -o -name docs \) -prune -o -type f -print0 |
    sort -z | xargs -0 sha256sum | sha256sum
}

now=$(sources)
if [[ -f $STAMP && $(<"$STAMP") == "$now" ]]; then exit 0; fi

mapfile -t missing < <(node_packages)
((${#missing[@]} == 0)) || install "${missing[@]}"
new_node
npm_ci "$PAGES"
npm run --prefix "$PAGES" build
echo "$now" >"$STAMP"
