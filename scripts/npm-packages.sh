#!/bin/sh
# npm ci, but only when package-lock.json is not the one that node_modules was made from.
set -eu
cd "$(dirname "$0")/.."
stamp=node_modules/.machined-lock

if cmp -s package-lock.json "$stamp"; then
  exit 0
fi
npm ci --no-audit --no-fund
# Anew, not in place: a tree made of hard links to this one would look as fresh.
rm -f "$stamp"
cp package-lock.json "$stamp"
