#!/usr/bin/env bash
# Builds the program as it was at a commit, for the test of upgrades:
#   QUOTAGATE_OLD_BIN=$(tests/tools/old.sh [REF]) cargo test --all-features --test cluster upgrade
# Prints where it is. Without a REF it is the last release (the newest tag v*); where
# there is none, the oldest commit whose records and messages this one has to understand.
# Needs: git with the history, cargo, protoc.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# The contracts between nodes and to the store have been kept since this one.
readonly OLDEST=413ca9b

main() {
  local ref=${1:-} commit
  [[ -n $ref ]] || ref=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) || ref=$OLDEST
  commit=$(git rev-parse --short --verify "$ref^{commit}") ||
    { echo "there is no $ref here: fetch the history (git fetch --unshallow --tags)" >&2; exit 1; }
  local binary=$PWD/.tools/old/quotagate-$commit
  [[ -x $binary ]] || build "$commit" "$binary" >&2
  echo "$binary"
}

build() {
  local commit=$1 binary=$2 source=.tools/old/source
  echo "building quotagate $commit (some minutes)"
  rm -rf "$source" && mkdir -p "$source"
  git archive "$commit" | tar -x -C "$source"
  (cd "$source" && CARGO_TARGET_DIR=../target cargo build --locked --all-features --bin quotagate)
  # As a whole or not at all.
  cp .tools/old/target/debug/quotagate "$binary.new" && mv "$binary.new" "$binary"
  rm -rf "$source"
}

main "$@"
