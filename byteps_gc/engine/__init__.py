"""BytePS itself: its source release, our fix-ups to it, and wheels.

:mod:`~byteps_gc.engine.source` fetches and unpacks the pinned release, :mod:`~byteps_gc.engine.fixups` changes it,
:mod:`~byteps_gc.engine.compile` compiles it for host memory or CUDA, and :mod:`~byteps_gc.engine.build` puts its wheel
into a cache outside the checkout, keyed by all that went into it. :mod:`~byteps_gc.engine.package` packs byteps_gc's
own wheel.
"""
