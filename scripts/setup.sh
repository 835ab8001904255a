#!/bin/sh
# Prepares the machine: installs what it can, and says what else is missing and what to do.
#
#   setup.sh deps        npm packages (building and checking need no more)
#   setup.sh run         also what the demo needs: root, namespaces, network tools, the kernel's modules
#   setup.sh test        also what the tests need
#   setup.sh test-vm     also what the tests in a virtual machine need
#
# What the agent's native client is built with is installed too, where it can be: a build goes on without.
#
# What only a person can put right is looked for first, before anything is installed. If nothing is
# missing, it ends after a tenth of a second.
set -eu
cd "$(dirname "$0")/.."

# command:Debian package
run_tools="ip:iproute2 iptables:iptables nft:nftables ping:iputils-ping nsenter:util-linux
etcd:etcd-server etcdctl:etcd-client"
test_tools="pkill:procps conntrack:conntrack tcpdump:tcpdump ipset:ipset arping:iputils-arping socat:socat
strace:strace openssl:openssl busybox:busybox-static containerd:containerd runc:runc /usr/lib/cni/bridge:containernetworking-plugins"
client_tools="wasm2c:wabt cc:gcc cc:libc6-dev"

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
    "Install version 20 or later, with npm: https://nodejs.org/en/download" \
    ${SUDO_USER:+"If $SUDO_USER has it, hand it to root: sudo env \"PATH=\$PATH\" make"}
  [ "${node%%.*}" -ge 20 ] || fail "Node.js is version $node; 20 or later is needed." \
    "Install a later one: https://nodejs.org/en/download"
  command -v npm >/dev/null || fail "npm is not installed; it comes with Node.js." \
    "On Debian and Ubuntu: apt-get install npm"
}

has_packages() { cmp -s package-lock.json node_modules/.installed; }

# The stamp is a copy of the lock file, so that a newer date alone installs nothing.
install_packages() {
  stamp=node_modules/.installed
  if has_packages; then
    # Not every time: what is older than the stamp is built again.
    [ "$stamp" -nt package-lock.json ] || touch "$stamp"
    return
  fi
  check_node
  quietly "npm packages installed" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error \
    --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=3000 ||
    fail "npm could not install the packages; its messages are above." \
      "Check that the npm registry can be reached (npm ping), then run make again." \
      "Behind a proxy: npm config set proxy URL"
  sh scripts/node.sh --version >/dev/null 2>&1 || fail "the Node.js that npm installed does not run here." \
    "It needs glibc, as Debian, Ubuntu and Fedora have it (Alpine does not)."
  cp package-lock.json "$stamp"
}

check_machine() {
  [ "$(id -u)" = 0 ] || fail "make $1 must run as root: it makes network namespaces." \
    "Run: sudo make $1"
  command -v unshare >/dev/null || fail "unshare is not installed." \
    "On Debian and Ubuntu: apt-get install util-linux"
  why=$(unshare --net --mount --pid --fork true 2>&1) || fail "cannot make namespaces here ($why)." \
    "In a container, start it with --privileged."
  has_packages || check_node
}

# needs MODULE KERNEL_OPTION COMMAND...: notes what the kernel lacks if the command fails.
needs() {
  module=$1
  option=$2
  shift 2
  "$@" >/dev/null 2>&1 || missing="$missing $module:$option"
}

# Runs in a network namespace, where the kernel loads what it can by itself.
probe_kernel() {
  missing=
  needs bridge CONFIG_BRIDGE ip link add name probe0 type bridge
  needs veth CONFIG_VETH ip link add name probe1 type veth peer name probe2
  needs nf_tables CONFIG_NF_TABLES nft add table ip probe
  needs nft_chain_nat CONFIG_NFT_NAT \
    nft 'add table ip probe; add chain ip probe nat { type nat hook prerouting priority 0; }'
  needs nft_compat CONFIG_NFT_COMPAT iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j ACCEPT
  needs vxlan CONFIG_VXLAN ip link add name probe3 type vxlan id 1 dstport 8472
  if [ "$1" != run ]; then
    needs iptable_nat CONFIG_IP_NF_NAT iptables-legacy -t nat -S
    needs br_netfilter CONFIG_BRIDGE_NETFILTER test -d /proc/sys/net/bridge
  fi
  echo $missing
}

check_kernel() {
  missing=$(unshare --net sh scripts/setup.sh probe "$1")
  [ -n "$missing" ] || return 0
  modules=
  options=
  for each in $missing; do
    modules="$modules ${each%%:*}"
    options="$options ${each#*:}"
  done
  fail "this kernel ($(uname -r)) does not have:$modules." \
    "Run as root, on the host if this is a container: modprobe -a$modules" \
    "If there are no such modules, use a kernel with:$options"
}

# lacking COMMAND:PACKAGE...: sets `packages` to those of the commands that are not there.
lacking() {
  packages=
  for tool in $*; do
    command -v "${tool%%:*}" >/dev/null || packages="$packages ${tool#*:}"
  done
  [ -n "$packages" ]
}

apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  quietly "system packages installed:$packages" sh -c '
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' apt $packages
}

install_client_tools() {
  lacking "$client_tools" || return 0
  { command -v apt-get >/dev/null && apt_install 2>/dev/null; } ||
    echo "The agent's native client cannot be built without:$packages (see docs/install-cni.md)"
}

install_tools() {
  lacking "$@" || return 0
  command -v apt-get >/dev/null || fail "these packages (by their Debian names) are missing:$packages" \
    "Install them with this system's package manager, then run make again."
  apt_install ||
    fail "apt-get could not install:$packages" "Its messages are above. Install them, then run make again."
}

# Where this kernel has no VLAN filtering, the tests boot one that has.
vm_tools() {
  [ "$(uname -m)" = x86_64 ] || return 0
  unshare --net ip link add probe type bridge vlan_filtering 1 2>/dev/null ||
    echo "qemu-system-x86_64:qemu-system-x86"
}

PATH=$PATH:/usr/sbin:/sbin
case ${1-} in
  deps) install_packages ;;
  run | test | test-vm)
    check_machine "$1"
    install_tools "$run_tools"
    check_kernel "$1"
    if [ "$1" != run ]; then install_tools "$test_tools"; fi
    if [ "$1" = test-vm ]; then install_tools "$(vm_tools)"; fi
    install_client_tools
    install_packages
    ;;
  probe) probe_kernel "$2" ;;
  *) fail "usage: setup.sh deps|run|test|test-vm" ;;
esac
