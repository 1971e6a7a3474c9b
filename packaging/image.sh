#!/bin/sh
# Makes the root of the container's image: packaging/image.sh PROGRAM FOLDER. The server, the libraries that it is linked
# to, the certificates of authorities and a user; no shell, no package manager. In the Containerfile it runs on Debian.
set -eu

program=$1
root=$2

mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/etc/rallypoint" "$root/tmp" "$root/proc"
chmod 1777 "$root/tmp"
cp "$program" "$root/usr/bin/rallypoint"
strip "$root/usr/bin/rallypoint"

# Each library under the path at which the loader looks for it, and the loader itself.
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done

cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'rallypoint:x:65532:65532::/nonexistent:/usr/sbin/nologin' >"$root/etc/passwd"
echo 'rallypoint:x:65532:' >"$root/etc/group"
# Names from the engine's /etc/hosts before those of its DNS.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
