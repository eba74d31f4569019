#!/usr/bin/env bash
# Set up, then run the test suite: ./scripts/test.sh [PYTEST ARGUMENTS]
# Without arguments: all of it, the clusters one after the other and the rest beside them, on all processors.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
[ $# -gt 0 ] || set -- -q -n auto --dist loadgroup
exec "$here/setup.sh" --with dataset-fashion-mnist -- python -m pytest "$@"
