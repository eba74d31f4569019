#!/usr/bin/env bash
# Set up, then train the guide's ImageNet models at their real size for 22 steps each, with two
# workers, baseline and onebit, on images made and packed here: ./scripts/nightly.sh [PYTEST ARGUMENTS]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
exec "$here/setup.sh" -- python -m pytest -s tests/nightly/test_imagenet_models.py "$@"
