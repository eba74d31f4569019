#!/usr/bin/env bash
# Start the scheduler of the cluster in settings.sh, in this terminal: ./scheduler.sh [--print]
# --print: print the environment and the command instead.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/settings.sh"
exec "$BYTEPS_GC_PYTHON" -m byteps_gc host scheduler "$@"
