#!/usr/bin/env bash
# Every test, in two halves side by side: those of the server and its clients mostly wait, the others compute and give
# way to them. The second half is shown once it is done; coverage is of both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly BIN=${1:-.venv-dev/bin}
readonly WAITING=(tests/server tests/clients)

readonly PYTEST=("$BIN/pytest" --cov --cov-report= --cov-fail-under=0)

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Each has a coverage file of its own.
rm -f .coverage .coverage.*
COVERAGE_FILE=.coverage.computing nice -n 19 "${PYTEST[@]}" "${WAITING[@]/#/--ignore=}" &>"$log" &
computing=$!
trap 'kill "$computing"; exit 130' INT TERM # what runs in the background hears no Ctrl-C

failed=()
COVERAGE_FILE=.coverage.waiting "${PYTEST[@]}" "${WAITING[@]}" || failed+=(waiting)
wait "$computing" || failed+=(computing)
cat "$log"
if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[*]}" >&2
    exit 1
fi

"$BIN/coverage" combine --quiet
"$BIN/coverage" report
