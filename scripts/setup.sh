#!/bin/sh
# Prepares the machine: installs what it can, and says what else is missing and what to do.
#
#   setup.sh deps        npm packages (building and checking need no more)
#   setup.sh run         also what the demo needs: root, namespaces, network tools
#   setup.sh test        also what the tests need
#
# If nothing is missing, it ends after a few milliseconds.
set -eu
cd "$(dirname "$0")/.."

# command:Debian package
run_tools="ip:iproute2 iptables:iptables nft:nftables ping:iputils-ping nsenter:util-linux"
test_tools="pkill:procps conntrack:conntrack tcpdump:tcpdump ipset:ipset arping:iputils-arping socat:socat
strace:strace openssl:openssl etcd:etcd-server etcdctl:etcd-client containerd:containerd runc:runc /usr/lib/cni/bridge:containernetworking-plugins"

fail() {
  echo "flannel-cni: $1" >&2
  shift
  for line in "$@"; do echo "  $line" >&2; done
  exit 1
}

# quietly LABEL COMMAND...: one line if it succeeds, all of its output if it fails.
quietly() {
  label=$1
  shift
  log=$(mktemp)
  started=$(date +%s)
  if "$@" >"$log" 2>&1 </dev/null; then
    echo "$label ($(($(date +%s) - started)) s)"
    rm -f "$log"
  else
    cat "$log" >&2
    rm -f "$log"
    return 1
  fi
}

check_node() {
  [ "$(uname -s)" = Linux ] || fail "runs on Linux only, and this is $(uname -s)."
  node=$(node -p 'process.versions.node' 2>/dev/null) || fail "Node.js is not installed." \
    "Install version 20 or later, with npm: https://nodejs.org/en/download"
  [ "${node%%.*}" -ge 20 ] || fail "Node.js is version $node; 20 or later is needed." \
    "Install a later one: https://nodejs.org/en/download"
  command -v npm >/dev/null || fail "npm is not installed; it comes with Node.js." \
    "On Debian and Ubuntu: apt-get install npm"
}

# The stamp is a copy of the lock file, so that a newer date alone installs nothing.
install_packages() {
  stamp=node_modules/.installed
  if cmp -s package-lock.json "$stamp"; then
    # Not every time: what is older than the stamp is built again.
    [ "$stamp" -nt package-lock.json ] || touch "$stamp"
    return
  fi
  check_node
  quietly "npm packages installed" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error ||
    fail "npm could not install the packages; its messages are above." \
      "Check that the npm registry can be reached (npm ping), then run make again."
  cp package-lock.json "$stamp"
}

check_machine() {
  [ "$(id -u)" = 0 ] || fail "must run as root: it makes network namespaces." \
    "Run: sudo make $1"
  unshare --net true 2>/dev/null || fail "cannot make network namespaces here." \
    "In a container, start it with --privileged."
}

install_tools() {
  packages=
  for tool in $*; do
    command -v "${tool%%:*}" >/dev/null || packages="$packages ${tool#*:}"
  done
  [ -n "$packages" ] || return 0
  command -v apt-get >/dev/null || fail "these packages (by their Debian names) are missing:$packages" \
    "Install them with this system's package manager, then run make again."
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  quietly "system packages installed:$packages" sh -c '
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' apt $packages ||
    fail "apt-get could not install:$packages" "Its messages are above. Install them, then run make again."
}

# Where this kernel has no VLAN filtering, the tests boot one that has.
vm_tools() {
  [ "$(uname -m)" = x86_64 ] || return 0
  unshare --net ip link add probe type bridge vlan_filtering 1 2>/dev/null ||
    echo "qemu-system-x86_64:qemu-system-x86 busybox:busybox-static"
}

PATH=$PATH:/usr/sbin:/sbin
case ${1-} in
  deps) install_packages ;;
  run) check_machine run && install_packages && install_tools "$run_tools" ;;
  test)
    check_machine test && install_packages && install_tools "$run_tools" "$test_tools" && install_tools "$(vm_tools)"
    ;;
  *) fail "usage: setup.sh deps|run|test" ;;
esac
