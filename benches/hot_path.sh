#!/usr/bin/env bash
# Counts the instructions of the hot path, and compares them with those that are
# written down in benches/hot_path.counts: times are noisy, instructions are not.
#
#   benches/hot_path.sh            more than 10 % over what is written down is a fault
#   benches/hot_path.sh --update   writes down what it counts
#
# The program is benches/hot_path.rs as tests are built, so that next to nothing is
# compiled for it: what matters is that the counts stay, not how small they are. An
# iteration's instructions are the difference of two runs, one with more iterations:
# the start falls out. Two runs differ by up to 3 %, since hash maps
# are seeded by chance. What a processor can do changes a copy's instructions, and
# another compiler changes everything: by another one than it says there, 25 % pass.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly COUNTS=benches/hot_path.counts
readonly SUBJECTS=(ledger node service)
readonly FEW=200 MANY=1000
readonly TOLERANCE=10 TOLERANCE_OF_OTHERS=25

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

main() {
  command -v valgrind >/dev/null || { echo "there is no valgrind: it is Debian's package of that name" >&2; exit 2; }
  case ${1:-} in
    --update) update ;;
    '') compare ;;
    *) sed -n '5,6s/^# *//p' benches/hot_path.sh >&2; exit 2 ;;
  esac
}

# build: the path of the program, made with the settings of Cargo.toml.
build() {
  env -u CARGO_PROFILE_DEV_OPT_LEVEL cargo build --locked --all-features --bench hot_path \
    --message-format=json-render-diagnostics |
    sed -n 's/.*"name":"hot_path".*"executable":"\([^"]*\)".*/\1/p'
}

update() {
  local program subject
  program=$(build)
  {
    echo "# Instructions of one iteration; written by ./x hot-path --update."
    echo "rustc $(compiler)"
    for subject in "${SUBJECTS[@]}"; do echo "$subject $(count "$program" "$subject")"; done
  } >"$work/counts"
  mv "$work/counts" "$COUNTS"
  cat "$COUNTS"
}

compare() {
  local program subject known now passed=0 failed=0 tolerance=$TOLERANCE
  program=$(build)
  if [[ $(written rustc) != "$(compiler)" ]]; then
    tolerance=$TOLERANCE_OF_OTHERS
    echo "$COUNTS is of rustc $(written rustc), this is $(compiler): write it anew with ./x hot-path --update"
  fi
  for subject in "${SUBJECTS[@]}"; do
    known=$(written "$subject")
    now=$(count "$program" "$subject")
    if verdict "$subject" "$known" "$now" "$tolerance"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  done
  if ((failed > 0)); then
    echo "what they are spent on: valgrind --tool=callgrind --callgrind-out-file=target/hot_path.out $program SUBJECT $MANY && callgrind_annotate target/hot_path.out"
    echo "what is meant to cost more is written down with: ./x hot-path --update"
  fi
  echo "$passed passed, $failed failed"
  ((failed == 0))
}

# verdict SUBJECT KNOWN NOW TOLERANCE: says how both compare; false where it is a fault.
verdict() {
  awk -v subject="$1" -v known="$2" -v now="$3" -v tolerance="$4" 'BEGIN {
    if (known <= 0 || now <= 0) { printf "%s: %d counted, %d written down: nothing to compare\n", subject, now, known; exit 1 }
    change = (now / known - 1) * 100
    printf "%s: %d instructions, %+.1f %% to %d", subject, now, change, known
    if (change > tolerance) { printf ": more than %d %% over it\n", tolerance; exit 1 }
    if (change < -tolerance) printf ": hold it with ./x hot-path --update"
    print ""
  }'
}

# written NAME: what the file says of it; 0 where it says nothing.
written() { awk -v name="$1" '$1 == name { found = $2 } END { print found ? found : 0 }' "$COUNTS"; }

# count PROGRAM SUBJECT: instructions of one iteration; both runs at the same time.
count() {
  instructions "$1" "$2" $FEW >"$work/few" &
  local running=$!
  instructions "$1" "$2" $MANY >"$work/many"
  wait "$running"
  echo $((($(<"$work/many") - $(<"$work/few")) / (MANY - FEW)))
}

# instructions PROGRAM SUBJECT TIMES: of the whole run.
instructions() {
  local out=$work/out.$3
  valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file="$out" "$1" "$2" "$3" >"$out.log" 2>&1 ||
    { cat "$out.log" >&2; return 1; }
  awk '$1 == "summary:" { print $2 }' "$out"
}

compiler() { rustc --version | cut -d' ' -f2; }

main "$@"
