#!/usr/bin/env bash
# Run jobs one after another on this host: ./run.sh ["JOB JOB ..."] [--resume] [--job NAME="FLAGS"] [-- TRAINING FLAGS]
# Without a job: all of the experiment's. --resume: continue a run that failed. --job: define one more job.
# --print: print the environment and the command of each role instead: ./run.sh --print onebit
# --hosts N: simulate N hosts on this machine, with links of a bandwidth: ./run.sh onebit --hosts 2 --rate 100mbit
# On a cluster, start it on every host:
#   pssh -i -t 0 -l ubuntu -h hosts './run.sh onebit'
# Logs, the table, the report and the plots go to runs/ in the current folder (BYTEPS_GC_RUN_DIR).
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
. "$here/settings.sh"
exec "$BYTEPS_GC_PYTHON" -m byteps_gc run "$here/$BYTEPS_GC_EXPERIMENT.ini" "$@"
