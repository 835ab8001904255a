#!/bin/sh
# Runs the project's tools on the Node 24 that npm installed, whatever Node the machine has. If npm
# has none for this processor, the machine's own must be Node 24 or later.
here=$(dirname "$0")/..
for node in "$here"/node_modules/node-linux-*/bin/node; do
  [ -x "$node" ] && exec "$node" "$@"
done
if [ "$(node -p 'process.versions.node.split(".")[0] >= 24' 2>/dev/null)" = true ]; then
  exec node "$@"
fi
echo "flannel-cni: needs Node 24 or later on this processor ($(uname -m)). Install it, then run make again." >&2
exit 1
