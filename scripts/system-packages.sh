#!/bin/sh
# Installs the Debian packages that building and testing need, when they are missing and we are root.
set -eu

missing=
need() { # command package
  command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need node nodejs
need npm npm
need dbus-daemon dbus-daemon
need mmdebstrap mmdebstrap
need unshare util-linux
need mount mount
need nsenter util-linux
need ip iproute2
need mkfs.btrfs btrfs-progs
need strace strace

if [ -n "$missing" ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing on this machine:$missing. Install them, or run 'make deps' as root on Debian." >&2
    # Without node nothing works; without the rest only the tests on a booted host are lost.
    command -v npm >/dev/null 2>&1 || exit 1
    exit 0
  fi
  apt-get update
  # shellcheck disable=SC2086 -- a list of words on purpose
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
fi

node -e '
  const [major, minor] = process.versions.node.split(".").map(Number)
  if (major < 20 || (major === 20 && minor < 19)) {
    console.error(`Node.js 20.19 or newer is needed, this is ${process.version}.`)
    process.exit(1)
  }
'
