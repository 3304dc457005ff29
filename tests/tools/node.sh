# What the packages of Node have in common whose tests are run by node itself. Sourced,
# in the package's folder; the last line that it prints counts the tests.

# missing WHAT: says what there is not; under CI that is a failure.
missing() {
  echo "SKIPPED: $1"
  if [[ "${CI:-}" == true ]]; then
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
  fi
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
}

failed() {
  echo "FAILED: $1"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}

need_node() {
  command -v node >/dev/null && command -v npm >/dev/null || missing "there is no node, or no npm"
  node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 20 || (major == 20 && minor >= 9) ? 0 : 1)' ||
    missing "node $(node --version) is older than 20.9"
}

# What is installed already is as good, if it is what the lock file says.
install_packages() {
  local installed=node_modules/.quotagate-lock
  if ! cmp -s package-lock.json "$installed"; then
    npm ci --no-audit --no-fund --loglevel=error ||
      missing "the packages of package-lock.json cannot be installed"
    cp package-lock.json "$installed"
  fi
  export PATH="$PWD/node_modules/.bin:$PATH"
  biome ci --error-on-warnings . || failed "format and lint: npm run format mends the first"
}

# run_files FILE…: one after the other, since some measure, and all want the machine.
run_files() {
  local report status=0 failures
  report=$(mktemp)
  node --test --test-concurrency=1 \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$report" \
    "$@" || status=$?
  count() { sed -n "s/^# $1 \([0-9]*\)$/\1/p" "$report" | tail -n 1; }
  failures=$(($(count fail) + $(count cancelled)))
  # A run that broke off has counted nothing.
  if ((status != 0 && failures == 0)); then
    failures=1
  fi
  echo "$(count pass) passed, $failures failed, $(($(count skipped) + $(count todo))) skipped"
  rm -f "$report"
  ((failures == 0))
}
