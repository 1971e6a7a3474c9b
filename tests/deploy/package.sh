# What is asked of a release and of its Debian package; sourced by tests/run.sh, which has the groups.

# strictly FUNCTION ARGUMENT…: one of those below, in a shell that ends with the first command that fails. (Within
# `step`, which waits for a failure, it would go on.)
strictly() {
  SCRATCH=$SCRATCH bash -euo pipefail -c '. tests/deploy/machine.sh; . tests/deploy/package.sh; "$@"' bash "$@"
}

# dist_holds FOLDER: the archive is whole, and the server in it works.
dist_holds() {
  local name
  name=$(basename "$1"/*.cdx.json .cdx.json)
  cd "$1"
  sha256sum --check --strict SHA256SUMS
  [[ $(wc -l <SHA256SUMS) == 3 && $(find . -type f | wc -l) == 4 ]]
  [[ $name =~ ^rallypoint-[0-9]+\.[0-9]+\.[0-9]+-[a-z0-9_]+-([a-z]+-)?linux-[a-z]+$ ]]
  tar --extract --gzip --file "$name.tar.gz"
  cd "$name"
  [[ $(./rallypoint --version) == "rallypoint $(cut -d- -f2 <<<"$name")" ]]
  # A binary whose symbols are stripped has none to tell.
  [[ $(nm rallypoint 2>&1) == *"no symbols"* ]]
  env RALLYPOINT_AUTH__AUDIENCE=a RALLYPOINT_AUTH__KEYS__0__ALGORITHM=HS256 \
    RALLYPOINT_AUTH__KEYS__0__SECRET=0123456789abcdef0123456789abcdef ./rallypoint check-config rallypoint.example.toml
}

# bill_names BILL: the crates and the npm packages that are in the program, and none that only tests use.
bill_names() {
  node -e '
    const { components, specVersion } = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
    const names = new Set(components.map(({ name }) => name));
    const wrong = [
      ...["hyper", "tokio", "jsonwebtoken", "@msgpack/msgpack"].filter((name) => !names.has(name)),
      ...["proptest", "clap_mangen", "vite", "playwright-core"].filter((name) => names.has(name)),
      ...components.filter(({ version, licenses }) => !version || !licenses?.length).map(({ name }) => name),
    ];
    console.log(`CycloneDX ${specVersion}, ${components.length} components`);
    if (wrong.length > 0) throw new Error(`missing, too much, or without a licence: ${wrong}`);
  ' "$1"
}

# unit_verified PROGRAM: what systemd thinks of the unit, with this program in place of the installed one.
unit_verified() {
  local unit=$SCRATCH/rallypoint.service
  sed "s|/usr/bin/rallypoint|$1|" docs/deploy/rallypoint.service >"$unit"
  systemd-analyze verify --man=no "$unit"
  is_sandboxed "$unit"
}

# is_sandboxed UNIT: 1.2 of 10 is what a server on the network cannot do without. (--threshold is in tenths.)
is_sandboxed() { systemd-analyze security --offline=yes --threshold=13 "$1" | tail -n 1; }

loose_unit_refused() {
  sed '/^ProtectSystem=/d; /^SystemCallFilter=/d' "$SCRATCH/rallypoint.service" >"$SCRATCH/loose.service"
  if is_sandboxed "$SCRATCH/loose.service"; then return 1; fi
}

# image_answers PROGRAM: the root of the image, read-only, with a network and processes of its own, and in it the server as the
# Containerfile starts it.
image_answers() {
  local root=$SCRATCH/image config
  packaging/image.sh "$1" "$root"
  # The server, five files for it, and at most as many libraries as a program without plugins has.
  find "$root" -type f | sort
  [[ $(find "$root" -type f | wc -l) -le 12 && ! -e $root/bin/sh && ! -e $root/usr/bin/sh ]]
  cp packaging/debian/rallypoint.toml "$root/etc/rallypoint/"
  for config in token resume; do head -c 48 /dev/urandom | base64 -w 0 >"$root/etc/rallypoint/$config.secret"; done
  chmod -R a+rX "$root"
  as_root unshare --mount --pid --fork --net --kill-child bash tests/deploy/image.sh "$root" docs/deploy/Containerfile
}

# in_package NAME…: has these functions of checks.sh run in the machine, each of them a check.
in_package() {
  local name
  for name; do
    step "the package: ${name//_/ }" in_machine bash -euo pipefail -c '. /mnt/checks.sh; "$1"' bash "$name"
  done
}
