# What is asked of the Debian package, in the machine of machine.sh. Each function is a check: sourced by a shell with
# `set -eu`, run as root. /mnt has old.deb, new.deb and the program `restart`.

CONFIG=/etc/rallypoint
UNIT=rallypoint.service
OVERRIDE=/etc/systemd/system/$UNIT.d/test.conf

pid() { systemctl show --property=MainPID --value $UNIT; }
# answer PATH [OPTION…]: the status of the server's answer.
answer() { local path=$1; shift; curl --silent --output /dev/null --write-out '%{http_code}' "$@" "http://127.0.0.1:3000$path"; }
names() { find /etc /usr /var /home /opt /srv -xdev -not -path '/var/log/journal/*' | LC_ALL=C sort; }
is_running() { pgrep --exact rallypoint; }
# no COMMAND…: it must fail. (`! COMMAND` would not end a shell with `set -e`.)
no() { if "$@"; then echo "this was not to succeed: $*"; return 1; fi; }

# override: settings for the service, of standard input, from now on.
override() {
  mkdir -p "$(dirname $OVERRIDE)"
  cat >$OVERRIDE
  systemctl daemon-reload
  systemctl restart $UNIT
}

is_installed_and_started() {
  names >/mnt/names.before
  cp /etc/passwd /etc/group /mnt
  dpkg --install /mnt/old.deb
  systemctl is-active $UNIT
  systemctl is-enabled $UNIT
  [[ $(answer /healthz) == 200 && $(answer /readyz) == 200 ]]
  rallypoint check-config $CONFIG/rallypoint.toml
}

unit_is_as_systemd_wants_it() {
  systemd-analyze verify $UNIT
  systemd-analyze security --threshold=13 $UNIT | tail -n 1
}

server_is_locked_in() {
  local status=/proc/$(pid)/status
  [[ $(stat --format=%U:%G "/proc/$(pid)") == rallypoint:rallypoint ]]
  grep --perl-regexp '^(Cap(Eff|Prm|Bnd|Amb):\t0+|NoNewPrivs:\t1|Seccomp:\t2)$' "$status"
  [[ $(grep --count --perl-regexp '^(Cap(Eff|Prm|Bnd|Amb):\t0+|NoNewPrivs:\t1|Seccomp:\t2)$' "$status") == 6 ]]
  [[ $(awk '/^Max open files/ { print $4 }' "/proc/$(pid)/limits") -ge 20000 ]]
  # What the server sees of the disk: nothing of it can be written but its logs, not even by root.
  local inside=(nsenter --target "$(pid)" --mount)
  no "${inside[@]}" touch $CONFIG/probe
  no "${inside[@]}" touch /usr/bin/probe
  [[ -z $("${inside[@]}" find /home /root -mindepth 1) ]]
  "${inside[@]}" touch /var/log/rallypoint/probe
  rm /var/log/rallypoint/probe
}

secrets_are_nobodys_business() {
  local file
  for file in token.secret resume.secret rallypoint.toml; do
    [[ $(stat --format=%a:%U:%G $CONFIG/$file) == 640:root:rallypoint ]]
    no setpriv --reuid=nobody --regid=nogroup --clear-groups cat $CONFIG/$file
  done
  [[ $(stat --format=%s $CONFIG/token.secret) == 64 ]]
  no cmp $CONFIG/token.secret $CONFIG/resume.secret
}

only_tokens_of_the_secret_let_in() {
  local good bad
  good=$(rallypoint token --user ada --room lobby --role spectator --key file:$CONFIG/token.secret)
  bad=$(rallypoint token --user ada --room lobby --role spectator)
  [[ $(answer '/v1/poll?room=lobby&wait=0') == 401 ]]
  [[ $(answer '/v1/poll?room=lobby&wait=0' --header "Authorization: Bearer $bad") == 401 ]]
  [[ $(answer '/v1/poll?room=lobby&wait=0' --header "Authorization: Bearer $good") == 200 ]]
  [[ $(answer /dev/token --request POST --json '{"user":"ada"}') == 404 ]]
  curl --silent --fail http://127.0.0.1:9300/metrics | grep '^rallypoint_start_time_seconds'
  [[ $(answer /metrics) == 401 ]]
}

reload_keeps_the_process() {
  local before
  before=$(pid)
  systemctl reload $UNIT
  [[ $(pid) == "$before" && $(answer /healthz) == 200 ]]
}

upgrade_under_load_brings_everybody_back() {
  local before version
  echo '# Kept over an upgrade.' >>$CONFIG/rallypoint.toml
  sha256sum $CONFIG/* >/mnt/sums
  # The program has its tokens of a server in development, and all its clients come from one address.
  override <<'END'
[Service]
Environment=RALLYPOINT_DEV=true RALLYPOINT_LOG__FILTER=warn
Environment=RALLYPOINT_LIMITS__CONNECTIONS_PER_IP=20000
Environment=RALLYPOINT_LIMITS__ACCEPTS_PER_SECOND_PER_IP=20000 RALLYPOINT_LIMITS__ACCEPTS_BURST_PER_IP=20000
Environment=RALLYPOINT_LIMITS__REQUESTS_PER_SECOND_PER_IP=20000 RALLYPOINT_LIMITS__REQUESTS_BURST_PER_IP=20000
END
  before=$(pid)
  version=$(dpkg-query --show --showformat '${Version}' rallypoint)
  /mnt/restart --service 127.0.0.1:3000 --replace 'dpkg --install /mnt/new.deb' --sockets 200 --streams 40 --polls 30
  dpkg --compare-versions "$(dpkg-query --show --showformat '${Version}' rallypoint)" gt "$version"
  [[ $(pid) != "$before" && $(pgrep --count --exact rallypoint) == 1 ]]
  sha256sum --check --quiet /mnt/sums
}

# As the comment at the top of the unit says.
port_443_takes_one_capability() {
  { sed -n 's/^#     //p' /lib/systemd/system/$UNIT && echo 'Environment=RALLYPOINT_LISTEN=127.0.0.1:443'; } | override
  systemctl is-active $UNIT
  curl --silent --fail http://127.0.0.1:443/healthz
  sed -i '/^AmbientCapabilities/d' $OVERRIDE
  systemctl daemon-reload
  no systemctl restart $UNIT
  rm -r "$(dirname $OVERRIDE)"
  systemctl daemon-reload
  systemctl reset-failed $UNIT
  systemctl start $UNIT
}

wrong_configuration_is_told() {
  cp $CONFIG/rallypoint.toml /mnt/kept.toml
  echo 'lisen = "127.0.0.1:3000"' | cat - /mnt/kept.toml >$CONFIG/rallypoint.toml
  no systemctl restart $UNIT
  journalctl --unit=$UNIT --no-pager | grep "$CONFIG/rallypoint.toml:1: .*lisen"
  cat /mnt/kept.toml >$CONFIG/rallypoint.toml
  systemctl reset-failed $UNIT
  systemctl start $UNIT
}

removal_leaves_configuration_and_nothing_else() {
  dpkg --remove rallypoint
  no is_running
  # What dpkg and systemd remember of it, among that the mask of its unit, until it is purged.
  names | grep rallypoint | grep --invert-match --extended-regexp \
    '^/(etc|var/log)/rallypoint|^/var/lib/(dpkg|systemd)/|^/etc/systemd/system/' >/mnt/left || true
  cat /mnt/left
  [[ ! -s /mnt/left ]]
  sha256sum --check --quiet /mnt/sums
  dpkg --install /mnt/new.deb
  sha256sum --check --quiet /mnt/sums
  [[ $(answer /healthz) == 200 ]]
}

purge_leaves_nothing() {
  dpkg --purge rallypoint
  no is_running
  systemctl daemon-reload
  [[ $(systemctl show --property=LoadState --value $UNIT) == not-found ]]
  # dpkg and the tools for users keep copies of their own files.
  names | diff /mnt/names.before - | grep '^[<>]' | grep --invert-match --extended-regexp \
    '/(passwd|group|g?shadow|sub[ug]id)-$|/var/lib/dpkg/|/var/log/(dpkg|alternatives)|/var/cache/' >/mnt/left || true
  cat /mnt/left
  [[ ! -s /mnt/left ]]
  diff /mnt/passwd /etc/passwd
  diff /mnt/group /etc/group
}

# Where no systemd runs the package starts nothing, and says what to do; what it says is done here, word by word.
works_without_systemd() {
  unshare --mount bash -euo pipefail -c '
    mount -t tmpfs none /run/systemd
    . /mnt/checks.sh
    told() { sed -n "s/^  //p" /mnt/told | sh -ex; }
    dpkg --install /mnt/old.deb | tee /mnt/told
    no is_running
    told
    curl --silent --retry 20 --retry-connrefused --retry-delay 1 --fail http://127.0.0.1:3000/healthz
    process=$(pgrep --exact rallypoint)
    [[ $(stat --format=%U /proc/$process) == rallypoint ]]
    dpkg --install /mnt/new.deb | tee /mnt/told
    [[ $(pgrep --exact rallypoint) == "$process" ]]
    told
    curl --silent --retry 20 --retry-connrefused --retry-delay 1 --fail http://127.0.0.1:3000/healthz
    [[ $(pgrep --exact rallypoint) != "$process" ]]
    dpkg --purge rallypoint
    no is_running
    [[ ! -e /etc/rallypoint ]]'
}
