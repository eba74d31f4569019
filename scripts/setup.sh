#!/usr/bin/env bash
# Set up .venv (Python packages, MXNet, the engine), then run COMMAND in it. Does only what is missing.
#   ./scripts/setup.sh [--cuda | --cpu] [--wheels FOLDER | --torch | --torch-python PATH] [--with PACKAGE]... [-- COMMAND...]
# --cuda: for GPUs; also installs CUDA 11, cuDNN 8 and NCCL. The host needs only the NVIDIA driver.
# --cpu: for CPUs, the default of a new .venv. Without either flag an existing .venv keeps its device.
# --wheels: install byteps_gc and the engine from the two wheels in FOLDER, which "python -m byteps_gc engine build" has
#   made on another host, so this one needs no compiler. .venv keeps the folder; delete .venv to compile here instead.
# --torch: make .venv-torch for PyTorch instead, on CPUs; status 77 where the index serves none.
# --torch-python PATH: make it with a Python that has PyTorch, and use that one.
# BYTEPS_GC_BASE_PYTHON: the Python to create .venv with. BYTEPS_GC_VENV: another folder for .venv.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

. "$here/find_python.sh"
exec "$python" "$here/setup_environment.py" "$@"
