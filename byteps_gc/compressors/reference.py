"""The readable definition of what travels: NumPy twins of the native workers and servers, one partition each."""

from byteps_gc.compressors.options import option_texts
from byteps_gc.compressors.partition import Partition, options_digest
from byteps_gc.compressors.server import ReferenceServer
from byteps_gc.compressors.worker import ReferenceWorker

__all__ = ["Partition", "ReferenceServer", "ReferenceWorker", "option_texts", "options_digest"]
