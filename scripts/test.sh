#!/usr/bin/env bash
# Set up, then run the test suite: ./scripts/test.sh [PYTEST ARGUMENTS]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
exec "$here/setup.sh" --with dataset-fashion-mnist -- python -m pytest "$@"
