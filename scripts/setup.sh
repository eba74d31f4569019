#!/usr/bin/env bash
# Set up .venv (Python packages, MXNet, the engine), then run the command that
# follows "--" in it. Cheap when there is nothing to do.
#   ./scripts/setup.sh [--cuda | --cpu] [--with PACKAGE]... [-- COMMAND...]
# --cuda: for GPUs, with CUDA 11, cuDNN 8 and NCCL beside MXNet; the host needs only NVIDIA's driver.
# Without either, .venv stays what it was made for; a new one is for the CPU.
# BYTEPS_GC_BASE_PYTHON names the Python to make .venv of, BYTEPS_GC_VENV another folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usable() { "$1" -c 'import ctypes, ssl, venv, zlib' >/dev/null 2>&1; }

python=${BYTEPS_GC_BASE_PYTHON:-}
for minor in 12 11 10 9 8; do
    for candidate in "python3.$minor" "$HOME/.pyenv/versions/3.$minor".*/bin/python; do
        [ -n "$python" ] || ! usable "$candidate" || python=$candidate
    done
done
if [ -z "$python" ]; then
    echo "setup: no Python from 3.8 to 3.12 was found; Debian's packages python3 and python3-venv have one" >&2
    exit 2
fi
usable "$python" || { echo "setup: BYTEPS_GC_BASE_PYTHON=$python does not run, or lacks ssl, venv or zlib" >&2; exit 2; }
exec "$python" "$here/setup_environment.py" "$@"
