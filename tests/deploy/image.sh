# What an engine does with the image, in namespaces of its own, and whether the server in it answers:
# image.sh ROOT CONTAINERFILE, as root.
set -euo pipefail

containerfile=$(realpath "$2")
said() { sed -n "s/^$1 //p" "$containerfile" | tr -d '[]",'; }

mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
cd "$1"
mount -t proc proc proc
ip link set lo up

# shellcheck disable=SC2046 # Words, as they stand there.
env -i $(said ENV) "$(command -v chroot)" --userspec="$(said USER)" --groups= . $(said ENTRYPOINT) $(said CMD) &
until curl --silent --show-error --fail "http://127.0.0.1:$(said EXPOSE)/healthz"; do
  kill -0 $!
  sleep 0.1
done
[[ $(stat --format=%u proc/$!) == 65532 ]]
ss --listening --tcp --numeric | grep "0.0.0.0:$(said EXPOSE)"
kill -TERM $!
wait $!
