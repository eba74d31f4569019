"""``python -m byteps_gc``: the package's commands."""

import sys

from byteps_gc.cli import main

sys.exit(main())
