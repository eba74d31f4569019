#!/usr/bin/env bash
# Run all jobs of an experiment of the guide, and make its table, plots and report:
#   ./scripts/reproduce.sh EXPERIMENT ["JOBS"] [--seeds 2] [--out FOLDER] [-- TRAINING FLAGS]
# EXPERIMENT: cifar100, resnet50_v2 or vgg16. The cluster is that of settings.sh; on several hosts, start it on each:
#   pssh -i -t 0 -l ubuntu -h hosts './byteps_gc/scripts/reproduce.sh cifar100'
# or on simulated hosts, which are network namespaces of this machine: --hosts 2 --rate 100mbit
# Started again, it runs only what is unfinished in its folder (results/EXPERIMENT in the current one).
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../example/mxnet/gradient_compression" && pwd)
. "$here/settings.sh"
if [ $# -eq 0 ] || [[ $1 = -* ]]; then
    echo "reproduce: name an experiment: $(cd "$here" && ls ./*.ini | sed 's|^./||; s|.ini$||' | xargs)" >&2
    exit 2
fi
experiment=$1; shift
exec "$BYTEPS_GC_PYTHON" -m byteps_gc reproduce "$here/$experiment.ini" "$@"
