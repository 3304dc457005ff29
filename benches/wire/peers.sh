#!/usr/bin/env bash
# Builds the limiters that quotagate is compared with, at pinned versions, into
# .tools/peers: those that are in the registries of Rust and Go. What is there stays.
# It goes behind other work (nice), and takes some minutes once.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/tools/tools.sh

readonly THROTTLECRAB_VERSION=0.4.40
readonly GUBERNATOR_VERSION=2.13.0
readonly RATELIMIT_VERSION=1.4.1-0.20260122083618-3fb702589d36
readonly PEERS=$PWD/.tools/peers

main() {
  mkdir -p "$PEERS" .tools/packaged
  peer throttlecrab-server install_throttlecrab "it is compiled by cargo"
  peer gubernator install_gubernator "it is compiled by Go, from its proxy"
  peer ratelimit install_ratelimit "it is compiled by Go, from its proxy"
  has redis-server || [[ -x .tools/packaged/redis-server ]] || install_redis ||
    echo "no redis-server: it is Debian's package of that name" >&2
}

# peer NAME INSTALL NOTE: builds what is not there.
peer() {
  local name=$1 install=$2 note=$3
  [[ -x $PEERS/$name ]] || has "$name" || { echo "building $name" && "$install"; } || echo "no $name: $note" >&2
}

install_throttlecrab() {
  local work=$PEERS/.throttlecrab status=0
  nice -n 19 cargo install throttlecrab-server --version "$THROTTLECRAB_VERSION" --locked \
    --root "$work" --target-dir "$work/target" --quiet && mv "$work/bin/throttlecrab-server" "$PEERS/" || status=$?
  rm -rf "$work"
  return "$status"
}

install_gubernator() {
  go_install gubernator "github.com/gubernator-io/gubernator/v2/cmd/gubernator@v$GUBERNATOR_VERSION" gubernator
}

install_ratelimit() {
  go_install service_cmd "github.com/envoyproxy/ratelimit/src/service_cmd@v$RATELIMIT_VERSION" ratelimit
}

# go_install PROGRAM PACKAGE NAME: the program that Go makes of it, under the name.
go_install() {
  is_new_go || return
  local work=$PEERS/.$3 status=0
  mkdir -p "$work"
  GOBIN=$work GOTOOLCHAIN=auto nice -n 19 go install -trimpath -ldflags='-s -w' "$2" && mv "$work/$1" "$PEERS/$3" || status=$?
  rm -rf "$work"
  return "$status"
}

# The server is the program of redis-tools under another name. Its own package would
# start a service.
install_redis() {
  has redis-check-rdb || install_package redis-tools || return
  ln -sf "$(command -v redis-check-rdb)" .tools/packaged/redis-server
}

main
