"""What the Pythons that tests start begin with.

MXNet looks for scipy.stats when it is imported, for a part of it that nobody here uses, and does without if it is not
there. It is a third of what starting a worker costs, and most of what the tests do is to start workers.
"""

import sys

sys.modules["scipy.stats"] = None
