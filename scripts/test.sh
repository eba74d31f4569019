#!/usr/bin/env bash
# Set up, then run tests: ./scripts/test.sh [--all | PYTEST ARGUMENTS]
# Without arguments: all but the long ones (marked slow), which train with whole programs or measure. --all: all, as CI
# does. Four run at a time, because a test often waits for a limit to pass. Those of a group (xdist_group) share a
# fixture or look at the whole machine, and run one after the other.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
case "${1-}" in
    "") set -- -q -n 4 --dist loadgroup -m "not slow" ;;
    --all) set -- -q -n 4 --dist loadgroup "${@:2}" ;;
esac
exec "$here/setup.sh" --with dataset-fashion-mnist --with chromium -- python -m pytest "$@"
