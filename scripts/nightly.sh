#!/usr/bin/env bash
# What is too long for CI: train the guide's ImageNet models at their real size for 22 steps each, with
# two workers, baseline and onebit, on images made and packed here; exchange gradients with every peer, which are
# installed for that; then build the engine for CUDA.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
"$here/setup.sh" -- python -m pytest -s tests/nightly
exec "$here/check_cuda_build.sh"
