#!/usr/bin/env bash
# Set up, then run the test suite: ./scripts/test.sh [PYTEST ARGUMENTS]
# Without arguments: all of it, the compressors' laws (which start no cluster) on all processors.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
"$here/setup.sh" --with dataset-fashion-mnist
if [ $# -gt 0 ]; then
    exec "$here/setup.sh" -- python -m pytest "$@"
fi
"$here/setup.sh" -- python -m pytest -q -n auto tests/test_laws.py
exec "$here/setup.sh" -- python -m pytest --ignore tests/test_laws.py
