#!/bin/sh
# Installs the daemon below $DESTDIR. Called by `make install` with DESTDIR, PREFIX and NODE.
#
# Every file put is written down in $PREFIX/lib/machined/manifest. A file of somebody else at the same place is moved
# aside as NAME.machined-stock first; scripts/uninstall.sh gives it back.
set -eu
cd "$(dirname "$0")/.."

: "${DESTDIR:=}" "${PREFIX:=/usr/local}" "${NODE:=}"
library=$PREFIX/lib/machined
units=$PREFIX/lib/systemd/system
user_units=$PREFIX/lib/systemd/user
manifest=$DESTDIR$library/manifest

case $NODE in
  /*) ;;
  *)
    echo "install: say by absolute path which node the unit shall run: make install NODE=/usr/bin/node" >&2
    exit 1
    ;;
esac
# Below a DESTDIR the node may come later, or from a layer beneath.
if [ -z "$DESTDIR" ] && [ ! -x "$NODE" ]; then
  echo "install: there is no $NODE" >&2
  exit 1
fi

mkdir -p "$DESTDIR$library"
touch "$manifest"

# Makes place for the file $1 (a path without DESTDIR).
claim() {
  mkdir -p "$DESTDIR$(dirname "$1")"
  if ! grep -qxF "$1" "$manifest"; then
    if [ -e "$DESTDIR$1" ] || [ -L "$DESTDIR$1" ]; then
      mv "$DESTDIR$1" "$DESTDIR$1.machined-stock"
    fi
    echo "$1" >>"$manifest"
  fi
  rm -f "$DESTDIR$1"
}

put() { # source target [mode]
  claim "$2"
  sed -e "s|@NODE@|$NODE|g" -e "s|@LIBRARY@|$library|g" -e "s|@PREFIX@|$PREFIX|g" "$1" >"$DESTDIR$2"
  chmod "${3:-0644}" "$DESTDIR$2"
}

link() { # value target
  claim "$2"
  ln -s "$1" "$DESTDIR$2"
}

put_if_missing() { # source directory(system or user) unit-name
  if [ ! -e "$DESTDIR/usr/lib/systemd/$2/$3" ] && [ ! -e "$DESTDIR/lib/systemd/$2/$3" ]; then
    put "$1" "$PREFIX/lib/systemd/$2/$3"
  fi
}

# The program, its worker threads and the packages that cannot be in it, being native: exactly what it was built and tested with, so no
# network is needed.
rm -rf "$DESTDIR$library/daemon" "$DESTDIR$library/cli" "$DESTDIR$library/node_modules"
mkdir -p "$DESTDIR$library/daemon" "$DESTDIR$library/cli" "$DESTDIR$library/node_modules"
cp dist/bundle/start.cjs dist/bundle/main.cjs dist/bundle/*-thread.cjs "$DESTDIR$library/daemon/"
cp dist/bundle/machinedctl.cjs "$DESTDIR$library/cli/"
cp package.json "$DESTDIR$library/package.json"
cp -R node_modules/koffi node_modules/@koromix node_modules/netlink node_modules/node-gyp-build "$DESTDIR$library/node_modules/"
chmod -R u=rwX,go=rX "$DESTDIR$library"
[ "$(id -u)" != 0 ] || chown -R 0:0 "$DESTDIR$library"

put units/systemd-machined.service.in "$units/systemd-machined.service"
link systemd-machined.service "$units/dbus-org.freedesktop.machine1.service"
put_if_missing units/machine.slice system machine.slice
put_if_missing units/machines.target system machines.target
# Varlink clients find the daemon here; systemd before 262 has no such unit.
put units/systemd-machined.socket "$units/systemd-machined.socket"
link ../systemd-machined.socket "$units/sockets.target.wants/systemd-machined.socket"

put units/user/systemd-machined.service.in "$user_units/systemd-machined.service"
link systemd-machined.service "$user_units/dbus-org.freedesktop.machine1.service"
put_if_missing units/user/machine.slice user machine.slice
put units/user/systemd-machined.socket "$user_units/systemd-machined.socket"
link ../systemd-machined.socket "$user_units/sockets.target.wants/systemd-machined.socket"

put cli/bin/machinedctl "$PREFIX/bin/machinedctl" 0755
# $PATH has /usr/local/bin before /usr/bin.
put cli/bin/machinectl "$PREFIX/bin/machinectl" 0755
completions=$PREFIX/share/bash-completion/completions
put cli/completion/machinedctl.bash "$completions/machinedctl"
put cli/completion/machinectl.bash "$completions/machinectl"
put cli/completion/_machinedctl "$PREFIX/share/zsh/site-functions/_machinedctl"

put units/org.freedesktop.machine1.service "$PREFIX/share/dbus-1/system-services/org.freedesktop.machine1.service"
put units/user/org.freedesktop.machine1.service "$PREFIX/share/dbus-1/services/org.freedesktop.machine1.service"
# /etc comes after /usr/share, so this works with and without the stock policy.
put dbus-policy/org.freedesktop.machine1.conf /etc/dbus-1/system.d/org.freedesktop.machine1.conf
# polkit has one directory and wants each action once: the stock file is moved aside, its new name is not *.policy.
put dbus-policy/org.freedesktop.machine1.policy /usr/share/polkit-1/actions/org.freedesktop.machine1.policy

# firewalld looks nowhere else; it reads it when it starts or is told to reload.
put units/machined.xml /usr/lib/firewalld/zones/machined.xml

if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl reload dbus.service || true
  echo "Installed. 'systemctl restart systemd-machined' puts it to work; running machines stay registered."
fi
