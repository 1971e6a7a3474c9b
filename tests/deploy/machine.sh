# A Debian machine to install packages on, made of the one at hand and thrown away; sourced by tests/run.sh.
#
# Its root is an overlay over this machine's, kept in memory, so that nothing here is changed. systemd runs in it as it does
# anywhere (systemd-nspawn), with a network of its own; no service of this machine is started. It needs root, or sudo
# without a password.

MACHINE_INIT=

# as_root COMMAND…
as_root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo -n "$@"; fi; }

# machine_missing: why there can be none here; nothing if there can.
machine_missing() {
  command -v dpkg >/dev/null || { echo "there is no dpkg" && return; }
  [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null || { echo "neither root nor sudo without a password" && return; }
  as_root unshare --mount true 2>/dev/null || { echo "no mount namespace may be made" && return; }
  grep -qw overlay /proc/filesystems || as_root modprobe overlay 2>/dev/null || echo "the kernel has no overlayfs"
}

# start_machine FOLDER: boots one that has this folder as /mnt, and waits until it is up.
start_machine() {
  local log=$SCRATCH/machine.log room=$SCRATCH/machine nspawn
  mkdir -p "$room"
  as_root env FOLDER="$(realpath "$1")" ROOM="$room" unshare --mount bash -c '
    set -e
    mount --make-rprivate /
    mount -t tmpfs machine "$ROOM"
    mkdir "$ROOM"/{upper,work,root}
    mount -t overlay machine -o "lowerdir=/,upperdir=$ROOM/upper,workdir=$ROOM/work" "$ROOM/root"
    cd "$ROOM/root"
    # What keeps packages from starting services, as images of containers have it; services that are there already; and
    # the index of all manual pages, which takes seconds after each package.
    rm -rf usr/sbin/policy-rc.d etc/systemd/system/*.wants var/lib/man-db/auto-update
    # Without systemd below there is nobody to ask for a scope.
    [[ -d /run/systemd/system ]] || set -- --keep-unit
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    echo $$ >"$FOLDER/nspawn"
    exec systemd-nspawn --quiet --settings=no --directory=. --boot --register=no "$@" --private-network \
      --bind="$FOLDER:/mnt" --link-journal=no --console=pipe -- --unit=multi-user.target' >"$log" 2>&1 </dev/null &
  for _ in {1..300}; do
    if nspawn=$(cat "$1/nspawn" 2>/dev/null) && MACHINE_INIT=$(pgrep --parent "$nspawn" --exact systemd); then
      in_machine systemctl is-system-running --wait 2>/dev/null && return
      # Some unit failed, which has nothing to do with ours.
      [[ $(in_machine systemctl is-system-running 2>/dev/null) != degraded ]] || return 0
    fi
    kill -0 $! 2>/dev/null || break
    sleep 0.1
  done
  cat "$log"
  return 1
}

# in_machine COMMAND…
in_machine() { as_root nsenter --target "$MACHINE_INIT" --all -- sh -c 'cd / && exec "$@"' sh "$@"; }

stop_machine() {
  [[ -n $MACHINE_INIT ]] || return 0
  # The end of its first process is the end of all others, and of the root.
  as_root kill -KILL "$MACHINE_INIT" 2>/dev/null || true
  MACHINE_INIT=
  wait
}
