# What the scripts need of a machine; sourced by tests/run.sh and clients/build.sh, from the top of the repository.

fail() {
  echo "$0: $*" >&2
  exit 2
}

# install PACKAGE…: with Debian's packages if we may, else by telling how.
install() {
  local command="apt-get install -y --no-install-recommends $*"
  command -v apt-get >/dev/null || fail "missing: $*. Install them (on Debian: $command)"
  [[ $(id -u) == 0 ]] || fail "missing: $*. Run: sudo apt-get update && sudo $command"
  echo "=== missing: $*; running apt-get update && $command"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q && $command </dev/null || fail "the packages could not be installed; run: apt-get update && $command"
}

# node_packages: the names of the packages that Node.js and npm are missing by.
node_packages() {
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
}

# new_node: whether Node.js is new enough for Vite.
new_node() {
  node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19) ? 0 : 1)' ||
    fail "node $(node --version) is too old; 20.19 or 22.12 or later is needed: https://nodejs.org/en/download"
}

# npm_ci FOLDER: installs what the lock file names, unless that is what is there.
npm_ci() {
  local stamp=$1/node_modules/.installed
  cmp -s "$1/package-lock.json" "$stamp" && return
  (cd "$1" && npm ci --no-audit --no-fund)
  cp "$1/package-lock.json" "$stamp"
}
