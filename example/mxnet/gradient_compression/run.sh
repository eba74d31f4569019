#!/usr/bin/env bash
# Run jobs, one after another, on this host: ./run.sh ["JOB JOB ..."] [--resume] [-- TRAINING FLAGS]
# Without a job: all of the experiment's. --resume: go on with a run that failed. On a cluster, start it on every host:
#   pssh -i -t 0 -l ubuntu -h hosts './run.sh onebit'
# Logs, the table and a plot go to runs/ in the current folder (BYTEPS_GC_RUN_DIR).
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
. "$here/settings.sh"
exec "$BYTEPS_GC_PYTHON" -m byteps_gc run "$here/$BYTEPS_GC_EXPERIMENT.ini" "$@"
