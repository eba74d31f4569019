#!/usr/bin/env bash
# Show what gradient compression gains on a slow network: ./scripts/demo.sh --help
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/find_python.sh"
exec "$python" "$here/demo.py" "$@"
