#!/usr/bin/env bash
# Runs a site on this machine, for trying things out: a Redis, two nodes in development on it, and nginx before them as
# docs/deploy/nginx-cluster.conf has it, without TLS.
#
#   PORT=3000 tests/cluster/run.sh     the balancer's port, in place of a free one
#
# Ctrl-C or SIGTERM ends what it started and removes its folder. A node that ends is told, and the rest goes on: see what
# becomes of its guests.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packages.sh

command -v redis-server >/dev/null || fail "redis-server is missing. On Debian: apt-get install redis-server"
command -v nginx >/dev/null || fail "nginx is missing. On Debian: apt-get install nginx"
BINARY=$(realpath -m "${CARGO_TARGET_DIR:-target}")/${BUILT:-debug}/rallypoint
[[ -x $BINARY ]] || fail "$BINARY is missing: cargo build"
# Settings of a server in the developer's shell are no part of this.
while read -r name; do unset "$name"; done < <(compgen -e RALLYPOINT_ || true)

FOLDER=$(mktemp -d)
# nginx that root has started works as somebody else.
chmod 755 "$FOLDER"
declare -A NAMES=() # by process id, in no order
STARTED=()          # process ids, in the order in which they were started

# start NAME COMMAND…: in a group of its own, so that Ctrl-C reaches this script alone, which ends them in order.
start() {
  local name=$1
  shift
  : >"$FOLDER/$name.log"
  set -m
  "$@" >"$FOLDER/$name.log" 2>&1 </dev/null &
  set +m
  STARTED+=($!)
  NAMES[$!]=$name
}

# stop_all: the balancer first, then the nodes, and the engine when nobody needs it any more.
stop_all() {
  trap '' INT TERM HUP
  local n id
  for ((n = ${#STARTED[@]} - 1; n >= 0; n--)); do
    id=${STARTED[n]}
    kill -TERM "$id" 2>/dev/null || true
    for _ in {1..100}; do
      kill -0 "$id" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$id" 2>/dev/null || true
    wait "$id" 2>/dev/null || true
  done
  rm -rf "$FOLDER"
}
trap stop_all EXIT
trap 'exit 0' INT TERM HUP

# until_answers NAME COMMAND…: for ten seconds; what did not start shows what it said.
until_answers() {
  local name=$1
  shift
  for _ in {1..100}; do
    "$@" && return
    kill -0 "${STARTED[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$FOLDER/$name.log" >&2
  fail "$name does not start"
}

free_port() {
  node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}

listens() { : 2>/dev/null <"/dev/tcp/127.0.0.1/$1"; }
address_of() { sed -n 's|.*listens on \(http://[^/ ]*\).*|\1|p' "$FOLDER/$1.log"; }
has_address() { [[ -n $(address_of "$1") ]]; }

# change FROM TO: in the balancer's configuration, where FROM must stand.
change() {
  [[ $CONFIGURATION == *"$1"* ]] || fail "not in docs/deploy/nginx-cluster.conf: $1"
  CONFIGURATION=${CONFIGURATION//"$1"/"$2"}
}

redis_port=$(free_port)
start redis redis-server --bind 127.0.0.1 --port "$redis_port" --save '' --appendonly no --dir "$FOLDER"
until_answers redis listens "$redis_port"

for node in node-1 node-2; do
  start "$node" env RALLYPOINT_TRUSTED_PROXIES=127.0.0.1 RALLYPOINT_LOG__FILTER=warn \
    "$BINARY" serve --dev --listen 127.0.0.1:0 --engine "redis://127.0.0.1:$redis_port"
  until_answers "$node" has_address "$node"
done

port=${PORT:-$(free_port)}
CONFIGURATION=$(<docs/deploy/nginx-cluster.conf)
change "listen 443 ssl http2;" "listen 127.0.0.1:$port;"
change "listen [::]:443 ssl http2;" ""
change "server_name play.example;" ""
change "ssl_certificate     /etc/letsencrypt/live/play.example/fullchain.pem;" ""
change "ssl_certificate_key /etc/letsencrypt/live/play.example/privkey.pem;" ""
change "access_log /var/log/nginx/rallypoint.log rallypoint;" "access_log off;"
change "server 127.0.0.1:3001 " "server $(address_of node-1 | cut -c8-) "
change "server 127.0.0.1:3002 " "server $(address_of node-2 | cut -c8-) "
cat >"$FOLDER/nginx.conf" <<END
daemon off;
pid $FOLDER/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
$(printf '%s_temp_path %s;\n' client_body "$FOLDER/body" proxy "$FOLDER/proxy" fastcgi "$FOLDER/fastcgi" \
  uwsgi "$FOLDER/uwsgi" scgi "$FOLDER/scgi")
$CONFIGURATION
}
END
start balancer nginx -p "$FOLDER" -e stderr -c "$FOLDER/nginx.conf"
until_answers balancer listens "$port"

cat <<END
balancer  http://localhost:$port
node 1    $(address_of node-1)   process ${STARTED[1]}
node 2    $(address_of node-2)   process ${STARTED[2]}
Redis     redis://127.0.0.1:$redis_port

Open /call on node 1 and on node 2, in the same room: the two see each other.
Open both on the balancer and end a node with kill: its guests go on at the other. Ctrl-C ends everything.
END

while ((${#NAMES[@]} > 0)); do
  status=0
  wait -n -p ended "${!NAMES[@]}" || status=$?
  [[ -n ${ended:-} ]] || continue
  echo "${NAMES[$ended]} has ended (exit $status)"
  tail -n 5 "$FOLDER/${NAMES[$ended]}.log"
  unset "NAMES[$ended]"
done
echo "nothing is left" && false
