# The tools that releases and tests are made with, in versions that we know; sourced from the top of the repository.

# cargo_tool NAME VERSION: installs it into the target folder, unless it is there.
cargo_tool() {
  local root tools
  root=$(realpath -m "${CARGO_TARGET_DIR:-target}")/tools
  tools=$(cargo install --list --root "$root" 2>/dev/null || true)
  [[ $tools == *"$1 v$2:"* && -x $root/bin/$1 ]] && return
  # They do little, and are built anew in each clone.
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install "$1" --locked --quiet --version "=$2" --root "$root"
}

# prometheus_tools: the folder with prometheus and promtool; on Debian out of its package, without installing the service.
prometheus_tools() {
  local folder packages
  if command -v prometheus >/dev/null && command -v promtool >/dev/null; then dirname "$(command -v promtool)" && return; fi
  folder=$(realpath -m "${CARGO_TARGET_DIR:-target}")/tools/prometheus
  if [[ ! -x $folder/usr/bin/promtool ]]; then
    command -v apt-get >/dev/null || fail "missing: prometheus and promtool. Install them"
    packages=$(mktemp -d)
    (cd "$packages" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; }) >&2
    dpkg-deb --extract "$packages"/prometheus_*.deb "$folder"
    rm -r "$packages"
  fi
  echo "$folder/usr/bin"
}
