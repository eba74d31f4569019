#!/usr/bin/env bash
# Run the checks that take too long for CI: train the guide's ImageNet models at their real size for 22 steps each
# with two workers, baseline and onebit, on generated images; install every peer and exchange gradients with it; build
# the engine for CUDA.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
"$here/setup.sh" -- python -m pytest -s tests/nightly
exec "$here/check_cuda_build.sh"
