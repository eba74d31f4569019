#!/usr/bin/env bash
# Start a worker of a job in this terminal: ./worker.sh JOB [-- TRAINING FLAGS]
# JOB is one of the experiment's, for example onebit or topk-fp16.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/settings.sh"
exec "$BYTEPS_GC_PYTHON" -m byteps_gc host worker "$here/$BYTEPS_GC_EXPERIMENT.ini" "$@"
