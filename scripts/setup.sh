#!/usr/bin/env bash
# Set up .venv (Python packages, MXNet, the engine), then run the command that
# follows "--" in it. Cheap when there is nothing to do.
#   ./scripts/setup.sh [--cuda | --cpu] [--with PACKAGE]... [-- COMMAND...]
# --cuda: for GPUs, with CUDA 11, cuDNN 8 and NCCL beside MXNet; the host needs only NVIDIA's driver.
# Without either, .venv stays what it was made for; a new one is for the CPU.
# BYTEPS_GC_BASE_PYTHON names the Python to make .venv of, BYTEPS_GC_VENV another folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

. "$here/find_python.sh"
exec "$python" "$here/setup_environment.py" "$@"
