#!/usr/bin/env bash
# What the program is made of, held to deny.toml: licences, sources, crates that may
# not be in it, and, where RustSec's database of advisories can be had, known holes.
# Needs: cargo-deny (`./x tools`).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/tools/tools.sh

# The database is some megabytes.
readonly PATIENCE=120
passed=0 failed=0 skipped=0

main() {
  local kind
  for kind in licenses bans sources; do
    check "$kind"
  done
  if timeout "$PATIENCE" "$DENY" fetch db >/dev/null 2>&1; then
    check advisories
  else
    skipped=1
    echo "SKIPPED: advisories: RustSec's database cannot be fetched from here"
  fi
  echo "$passed passed, $failed failed, $skipped skipped"
  ((failed == 0))
}

check() {
  if "$DENY" --locked --all-features check "$1"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $1"
  fi
}

main
