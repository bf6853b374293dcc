#!/usr/bin/env bash
# Fails when the committed modules are not what the .proto files generate.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$here/generate.sh" "$fresh"
stale=0
for file in $(cd "$fresh" && find . -type f); do
  cmp -s "$fresh/$file" "$here/$file" || { echo "stale: proto/${file#./}; run 'make proto'" >&2; stale=1; }
done
exit $stale
