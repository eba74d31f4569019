#!/usr/bin/env bash
# Set up, then run the test suite: ./scripts/test.sh [PYTEST ARGUMENTS]
# Without arguments: all tests; those that start no cluster on all processors, the others four at a time, because a
# test often waits for a limit to pass. Tests of a group (xdist_group) share a fixture or look at the whole machine, and
# run one after the other; groups begin first, so that single tests fill the end.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
pytest=("$here/setup.sh" --with dataset-fashion-mnist --with chromium -- python -m pytest)
[ $# -eq 0 ] || exec "${pytest[@]}" "$@"
"${pytest[@]}" -q -n auto -m "not cluster"
exec "${pytest[@]}" -q -n 4 --dist loadgroup -m cluster
