#!/usr/bin/env bash
# Set up, then run the test suite: ./scripts/test.sh [PYTEST ARGUMENTS]
# Without arguments: all of it, what starts no cluster on all processors, and two clusters at a time.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
pytest=("$here/setup.sh" --with dataset-fashion-mnist --with chromium -- python -m pytest)
[ $# -eq 0 ] || exec "${pytest[@]}" "$@"
"${pytest[@]}" -q -n auto -m "not cluster"
exec "${pytest[@]}" -q -n 2 --dist loadfile --no-loadscope-reorder -m cluster
