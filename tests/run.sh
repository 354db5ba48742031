#!/usr/bin/env bash
# Every test, in two halves side by side: those of the server and its clients mostly wait, the others compute and give
# way to them. The second half is shown once it is done; coverage is of both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly BIN=${1:-.venv-dev/bin}
readonly WAITING=(tests/server tests/clients)

half() { # half NAME NICENESS ARGUMENT…: run pytest with a coverage file of its own
    COVERAGE_FILE=.coverage.$1 nice -n "$2" "$BIN/pytest" --cov --cov-report= --cov-fail-under=0 "${@:3}"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'trap - INT TERM; kill 0' INT TERM # what runs in the background hears no Ctrl-C

rm -f .coverage .coverage.*
half computing 19 "${WAITING[@]/#/--ignore=}" &>"$log" &
computing=$!

failed=()
half waiting 0 "${WAITING[@]}" || failed+=(waiting)
wait "$computing" || failed+=(computing)
cat "$log"

"$BIN/coverage" combine --quiet
"$BIN/coverage" report
if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
