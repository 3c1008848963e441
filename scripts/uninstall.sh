#!/bin/sh
# Takes out what scripts/install.sh put below $DESTDIR, and gives back the files it moved aside.
set -eu

: "${DESTDIR:=}" "${PREFIX:=/usr/local}"
library=$PREFIX/lib/machined
manifest=$DESTDIR$library/manifest

if [ ! -f "$manifest" ]; then
  echo "uninstall: nothing is installed at $DESTDIR$library" >&2
  exit 1
fi
while IFS= read -r path; do
  rm -f "$DESTDIR$path"
  if [ -e "$DESTDIR$path.machined-stock" ] || [ -L "$DESTDIR$path.machined-stock" ]; then
    mv "$DESTDIR$path.machined-stock" "$DESTDIR$path"
  fi
done <"$manifest"
rm -rf "$DESTDIR$library"

if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl reload dbus.service || true
  echo "Removed. 'systemctl restart systemd-machined' starts the stock daemon, if there is one."
fi
