#!/usr/bin/env bash
# Set up, then train resnet18_v2 on a few thousand real images with a scheduler,
# two servers and two workers on this machine: ./scripts/demo.sh ["JOBS"] [-- TRAINING FLAGS]
# JOBS: any of baseline onebit topk randomk dithering (default: "baseline onebit").
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jobs="baseline onebit"
if [ $# -gt 0 ] && [ "$1" != -- ]; then jobs=$1; shift; fi
[ "${1:-}" != -- ] || shift
small=(--dataset fashion-mnist --train-samples 2560 --val-samples 1000 --num-epochs 3 --warmup-epochs 0 --lr 0.02)
exec "$here/setup.sh" --with dataset-fashion-mnist -- \
    "$here/../example/mxnet/gradient_compression/run.sh" "$jobs" -- "${small[@]}" "$@"
