#!/bin/sh
# Installs what building, testing and showing spawnlet needs: Debian packages, Node's modules, the bundle.
# When all is there it finds that out in a moment and does nothing.
#
#   setup.sh              all of it
#   setup.sh modules      Node's modules and the bundle only
#   setup.sh PACKAGE…     all of it, and these Debian packages
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)

packages='busybox-static ca-certificates conmon crun dbus docker-registry golang-github-containers-common gpg gpg-agent iproute2 iptables mmdebstrap nftables procps systemd systemd-container util-linux zstd'
case ${1-} in
  modules) packages= ;;
  *) packages="$packages $*" ;;
esac

fail() {
  echo "setup: $1" >&2
  exit 1
}

missing() {
  # shellcheck disable=SC2086 # a list of words
  dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' $packages 2>/dev/null |
    sed -n 's/^installed //p' >"$scratch/installed"
  for package in $packages; do
    grep -qx "$package" "$scratch/installed" || printf '%s ' "$package"
  done
}

install_packages() {
  [ "$(id -u)" = 0 ] || fail "these packages are missing: $1(be root, or install them with: apt-get install $1)"
  command -v apt-get >/dev/null || fail "this is no Debian: install what these packages hold: $1"
  echo "setup: installing $1" >&2
  # What is installed is for tests to start, not for the host: no service is started or enabled.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    policy_is_ours=yes
  fi
  install="apt-get install --yes --no-install-recommends --quiet=2 -o Dpkg::Use-Pty=0 $1"
  export DEBIAN_FRONTEND=noninteractive
  $install >"$scratch/apt" 2>&1 || {
    apt-get update --quiet=2 >&2 || fail 'apt-get update failed'
    $install >"$scratch/apt" 2>&1
  } || {
    cat "$scratch/apt" >&2
    fail 'apt-get install failed'
  }
  case $1 in
    *docker-registry*) systemctl disable --quiet docker-registry.service 2>/dev/null || : ;;
  esac
}

clean() {
  [ -z "${policy_is_ours-}" ] || rm -f /usr/sbin/policy-rc.d
  rm -rf "$scratch"
}

scratch=$(mktemp -d)
policy_is_ours=
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -n "$packages" ]; then
  needed=$(missing)
  [ -z "$needed" ] || install_packages "$needed"
fi

case $(uname -m) in
  aarch64) arch=arm64 ;;
  *) arch=x64 ;;
esac
node=node_modules/node-linux-$arch/bin/node

# npm replaces the whole of node_modules: it must not run on the Node that lies in it.
PATH=$(printf %s "$PATH" | sed "s|$root/node_modules/.bin:||g")
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  command -v npm >/dev/null || fail 'npm is missing: apt-get install npm'
  echo 'setup: installing modules' >&2
  quiet='--ignore-scripts --no-audit --no-fund --loglevel=error'
  case $(node --version) in
    # npm leaves out optional packages that want a newer Node than the one it runs on: Debian 12's is one.
    v1[0-9].* | v21.*)
      # shellcheck disable=SC2086 # words
      npm install $quiet --no-save --prefix "$scratch" npm@10.9.4 node-linux-$arch@24 >&2
      npm="$scratch/$node $scratch/node_modules/npm/bin/npm-cli.js"
      ;;
    *) npm=npm ;;
  esac
  # shellcheck disable=SC2086 # words
  $npm ci $quiet >&2
  # npm keeps the time of a file it did not have to write.
  touch node_modules/.package-lock.json
fi

[ -x $node ] || fail "$node is missing: this machine is neither x86-64 nor ARM64, or npm left out optional packages"

# The marker is older than any source that changed since the build began.
built=dist/.built
if [ ! -e $built ] || [ -n "$(find src scripts/build.ts package.json -newer $built | head -n 1)" ]; then
  touch "$scratch/began"
  $node scripts/build.ts
  touch -r "$scratch/began" $built
fi
