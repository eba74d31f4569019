#!/usr/bin/env bash
# Start a worker of a job in this terminal: ./worker.sh JOB [--job NAME="FLAGS"] [--print] [-- TRAINING FLAGS]
# JOB: a job of the experiment, such as onebit or topk-fp16, or the one that --job defines.
# --print: print the environment and the command instead.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/settings.sh"
exec "$BYTEPS_GC_PYTHON" -m byteps_gc host worker "$here/$BYTEPS_GC_EXPERIMENT.ini" "$@"
