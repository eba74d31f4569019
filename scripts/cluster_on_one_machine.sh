#!/usr/bin/env bash
# Set up, then run an experiment's jobs by pssh on simulated hosts, which are network namespaces of this machine:
#   ./scripts/cluster_on_one_machine.sh [--hosts 4] [--rate 100mbit] [--experiment cifar100] ["JOBS"] [-- TRAINING FLAGS]
# Needs root. Logs, the table, the report and the plots go to runs/ in the current folder (BYTEPS_GC_RUN_DIR).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$(id -u)" != 0 ]; then
    echo "cluster_on_one_machine: only root can create the network namespaces that simulate hosts: use sudo" >&2
    exit 2
fi
exec "$here/setup.sh" --with iproute2 --with openssh-server --with pssh -- \
    python "$here/cluster_on_one_machine.py" "$@"
