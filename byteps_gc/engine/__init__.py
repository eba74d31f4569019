"""BytePS itself: its source release, our fix-ups to it, and a wheel built of both.

:mod:`~byteps_gc.engine.source` fetches and unpacks the pinned release,
:mod:`~byteps_gc.engine.fixups` changes it, :mod:`~byteps_gc.engine.compile`
compiles it for host memory or CUDA, and :mod:`~byteps_gc.engine.build` puts
the wheel into a cache outside the checkout, keyed by all that went into it.
"""
