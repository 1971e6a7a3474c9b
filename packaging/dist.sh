#!/usr/bin/env bash
# What a release consists of, in target/dist (OUT=folder): an archive, a Debian package, a software bill of materials, and
# the sums of all three. `make dist` builds it; BUILT=debug takes what `cargo build` left, for tests.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/packages.sh
. packaging/tools.sh

BUILT=${BUILT:-release}
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")
OUT=$(realpath -m "${OUT:-$TARGET/dist}")
VERSION=$(cargo metadata --no-deps --format-version 1 |
  node -p 'JSON.parse(require("fs").readFileSync(0, "utf8")).packages.find(({ name }) => name === "rallypoint").version')
TRIPLE=$(rustc -vV | sed -n 's/^host: //p')
NAME=rallypoint-$VERSION-$TRIPLE
# The same sources give the same archive: every file in it is as old as the last commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH

cargo_tool cargo-sbom 0.10.0
if [[ $BUILT == release ]]; then
  clients/build.sh
  cargo build --release --locked
fi
[[ -x $TARGET/$BUILT/rallypoint ]] || fail "there is no $TARGET/$BUILT/rallypoint; cargo build makes one"

rm -rf "$OUT"
mkdir -p "$OUT/$NAME"

# The documents stand as they do in the repository, so that their links hold.
git ls-files -z -- README.md CHANGELOG.md SECURITY.md ARCHITECTURE.md CONTRIBUTING.md 'LICENSE*' rallypoint.example.toml \
  docs protocol/README.md | xargs -0 cp --parents -t "$OUT/$NAME"
strip -o "$OUT/$NAME/rallypoint" "$TARGET/$BUILT/rallypoint"
chmod 755 "$OUT/$NAME/rallypoint"
tar --directory="$OUT" --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+w --mtime="@$SOURCE_DATE_EPOCH" \
  --create "$NAME" | gzip -9n >"$OUT/$NAME.tar.gz"
rm -r "${OUT:?}/$NAME"

"$TARGET/tools/bin/cargo-sbom" sbom --cargo-package rallypoint --output-format cyclone_dx_json_1_6 |
  node packaging/sbom.mjs "$SOURCE_DATE_EPOCH" >"$OUT/$NAME.cdx.json"

packaging/deb.sh "$OUT/"

cd "$OUT"
sha256sum -- * >SHA256SUMS.new
mv SHA256SUMS.new SHA256SUMS
ls -l --block-size=1 | awk 'NF > 7 { printf "%10d  %s\n", $5, $9 }'
