#!/usr/bin/env bash
# Set up .venv (Python packages, MXNet, the engine), then run COMMAND in it. Does only what is missing.
#   ./scripts/setup.sh [--cuda | --cpu] [--with PACKAGE]... [-- COMMAND...]
# --cuda: for GPUs; also installs CUDA 11, cuDNN 8 and NCCL. The host needs only the NVIDIA driver.
# --cpu: for CPUs, the default of a new .venv. Without either flag an existing .venv keeps its device.
# BYTEPS_GC_BASE_PYTHON: the Python to create .venv with. BYTEPS_GC_VENV: another folder for .venv.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

. "$here/find_python.sh"
exec "$python" "$here/setup_environment.py" "$@"
