#!/usr/bin/env bash
# Set up, then run an experiment's jobs by pssh on simulated hosts, which are network namespaces of this machine:
#   ./scripts/cluster_on_one_machine.sh [--hosts 4] [--rate 100mbit] [--experiment cifar100] ["JOBS"] [-- TRAINING FLAGS]
# The same as python -m byteps_gc run EXPERIMENT.ini --hosts 4 --pssh. Needs root. Logs, the table, the report and the
# plots go to runs/ in the current folder (BYTEPS_GC_RUN_DIR).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ "$(id -u)" = 0 ] || { echo "cluster_on_one_machine: only root can run sshd on simulated hosts: use sudo" >&2; exit 2; }
exec "$root/scripts/setup.sh" --with iproute2 --with openssh-server --with pssh -- \
    python -m byteps_gc run "$root/example/mxnet/gradient_compression/cifar100.ini" --hosts 4 --pssh "$@"
