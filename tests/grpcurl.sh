#!/usr/bin/env bash
# Starts the real program and talks to it with grpcurl, as somebody would who
# meets it for the first time. README's first session is one of the checks, and
# so is every recipe of docs/grpcurl.md.
# Needs: grpcurl (`./x tools`), and the program as `cargo test` has built it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.tools/bin:$PATH

readonly ORG=00D000000000001EAA USER_ID=005000000000001AAA
passed=0 failed=0 service='' address='' ended_with=''
work=$(mktemp -d)
trap stop EXIT

main() {
  if ! start; then
    failed=1
    echo "FAILED: the service did not start and say its gRPC address; it said:"
    cat "$work/log" "$work/said"
  else
    run_checks
  fi
  echo "$passed passed, $failed failed"
  ((failed == 0))
}

run_checks() {
  check "reflection lists the services" 0 \
    quotagate.v1.QuotaService quotagate.admin.v1.AdminService grpc.health.v1.Health \
    envoy.service.ratelimit.v3.RateLimitService \
    -- call list
  check "reflection describes a method" 0 'rpc Acquire' quotagate.v1.AcquireResponse \
    -- call describe quotagate.v1.QuotaService.Acquire
  check "the whole service is healthy" 0 SERVING -- call grpc.health.v1.Health/Check
  check "so is the quota service" 0 SERVING \
    -- call -d '{"service": "quotagate.v1.QuotaService"}' grpc.health.v1.Health/Check

  check "a first call is granted" 0 '"permitId"' '"calls": 1' "$USER_ID" \
    -- acquire '"operation": "conversation-entries.get"'
  check "a check grants without a permit's id" 0 '"permit"' '!permitId' \
    -- acquire '"operation": "conversation-entries.get", "mode": "ACQUIRE_MODE_CHECK_ONLY"'
  check "ten deletions an hour are granted" 0 '"calls": 10' \
    -- acquire '"operation": "conversations.delete", "calls": 10'
  check "the eleventh is denied, with the time to wait" 0 \
    DENIAL_REASON_EXECUTION_USER_LIMIT '"retryAfter"' '"max": "10"' '!permitId' \
    -- acquire '"operation": "conversations.delete"'
  check "what can never be granted is denied without a time" 0 \
    DENIAL_REASON_EXECUTION_USER_LIMIT '!retryAfter' \
    -- acquire '"operation": "conversation-entries.get", "calls": 91'
  check "usage shows it" 0 '"usedByCaller": "10"' \
    -- call -d "{\"org\": \"$ORG\"}" quotagate.v1.QuotaService/GetUsage

  check "a bad field is named, in details that can be read" 67 \
    'Code: InvalidArgument' google.rpc.BadRequest '"field": "org"' google.rpc.ErrorInfo quotagate \
    -- call -d '{"org": "no such/org", "operation": "rest"}' quotagate.v1.QuotaService/Acquire
  check "an unknown operation is not found" 69 'Code: NotFound' google.rpc.ErrorInfo \
    -- acquire '"operation": "no.such"'

  check "README's first session works when pasted" '*' \
    QuotaService AcquireRequest '"permitId"' '"returnedCalls": 1' DENIAL_REASON_EXECUTION_USER_LIMIT \
    '"retryAfter"' '"field": "org"' '!command not found' '!Failed to dial' \
    -- bash -c "$(readme_session)"
  recipes

  end
  check "SIGTERM ends the service in good order" 0 -- ended
}

# check NAME EXIT PART… -- COMMAND…: the command ends with EXIT ('*': with any)
# and prints every PART, and no PART that begins with '!'.
check() {
  local name=$1 want=$2 parts=() wrong=() output status=0 part
  shift 2
  while [[ $1 != -- ]]; do
    parts+=("$1")
    shift
  done
  shift
  output=$("$@" 2>&1) || status=$?
  [[ $want == '*' || $status == "$want" ]] || wrong+=("it ended with $status, not $want")
  for part in ${parts[@]+"${parts[@]}"}; do
    case $part in
      !*) [[ $output != *"${part#!}"* ]] || wrong+=("it says: ${part#!}") ;;
      *) [[ $output == *"$part"* ]] || wrong+=("it does not say: $part") ;;
    esac
  done
  if ((${#wrong[@]} == 0)); then
    passed=$((passed + 1))
    echo "ok: $name"
  else
    failed=$((failed + 1))
    echo "FAILED: $name"
    printf '  %s\n' "${wrong[@]}"
    printf '%s\n' "$output" | sed 's/^/  | /'
  fi
}

# call [OPTIONS] WHAT: grpcurl wants its options before the address.
call() {
  local options=()
  while [[ $1 == -* ]]; do
    options+=("$1" "$2")
    shift 2
  done
  grpcurl -plaintext -max-time 10 ${options[@]+"${options[@]}"} "$address" "$@"
}

acquire() {
  call -d "{\"org\": \"$ORG\", \"execution_user\": \"$USER_ID\", $1}" quotagate.v1.QuotaService/Acquire
}

# The block of README under "A first session", aimed at this service.
readme_session() {
  sed -n '/^## A first session/,/^## /p' README.md | sed -n '/^```sh/,/^```/p' | sed '/^```/d' |
    sed "s/localhost:7400/$address/g"
}

# Each block of docs/grpcurl.md, pasted: it prints every line of the block that
# follows it.
recipes() {
  local line kind='' script='' parts=() heading='' number=0
  while IFS= read -r line; do
    case $kind:$line in
      :'## '*) heading=${line#'## '} number=0 ;;
      :'```sh') kind=sh script='' ;;
      :'```text') kind=text parts=() ;;
      sh:'```') kind='' number=$((number + 1)) ;;
      text:'```')
        kind=''
        check "grpcurl.md, $heading, recipe $number" '*' "${parts[@]}" '!command not found' \
          '!Failed to dial' -- bash -c "${script//localhost:7400/$address}"
        ;;
      sh:*) script+=$line$'\n' ;;
      text:*) parts+=("$line") ;;
    esac
  done <docs/grpcurl.md
}

# Starts the service on free ports; it says where it listens in its first lines.
start() {
  local line
  mkfifo "$work/said.pipe"
  : >"$work/said"
  "${CARGO_TARGET_DIR:-target}/debug/quotagate" serve --store memory: \
    --grpc 127.0.0.1:0 --http 127.0.0.1:0 >"$work/said.pipe" 2>"$work/log" </dev/null &
  service=$!
  exec 3<"$work/said.pipe"
  while read -r -t 30 line <&3; do
    echo "$line" >>"$work/said"
    if [[ $line =~ ^[^0-9]*[gG][rR][pP][cC][^0-9]*(127\.0\.0\.1:[1-9][0-9]*) ]]; then
      address=${BASH_REMATCH[1]}
      return 0
    fi
  done
  return 1
}

# Asks the service to end, and keeps what it ended with; it has 20 s.
end() {
  (sleep 20 && kill -KILL "$service") >/dev/null 2>&1 &
  local watchdog=$!
  kill -TERM "$service"
  wait "$service"
  ended_with=$?
  kill "$watchdog" 2>/dev/null
  service=''
}

ended() {
  tail -n 20 "$work/log"
  return "$ended_with"
}

stop() {
  [[ -z $service ]] || kill -KILL "$service" 2>/dev/null
  rm -rf "$work"
}

main
