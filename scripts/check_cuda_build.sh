#!/usr/bin/env bash
# Build the engine for CUDA in a separate environment, and check that the NVIDIA driver is the only
# library that it and MXNet still lack: ./scripts/check_cuda_build.sh [FOLDER]
# Needs no GPU. Downloads about 4 GB, and needs another 4 GB in FOLDER (default: a temporary folder).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-}
if [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
export BYTEPS_GC_VENV=$folder/venv
"$here/setup.sh" --cuda
packages=$("$BYTEPS_GC_VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
status=0
for library in mxnet/libmxnet.so byteps/core/c_lib.so byteps/mxnet/c_lib.so; do
    names=$(readelf -d "$packages/$library" | grep -c 'NEEDED' || true)
    missing=$(ldd "$packages/$library" | grep 'not found' | awk '{print $1}' | sort -u | tr '\n' ' ')
    echo "$library: links to $names libraries, missing: ${missing:-none}"
    case "$missing" in "" | "libcuda.so.1 ") ;; *) status=1 ;; esac
done
symbols=$(nm -D --undefined-only "$packages/byteps/core/c_lib.so")
for symbol in cudaMemcpyAsync ncclReduce; do
    grep -qw "$symbol" <<<"$symbols" && continue
    echo "byteps/core/c_lib.so does not use $symbol: it was not built for CUDA"
    status=1
done
exit "$status"
