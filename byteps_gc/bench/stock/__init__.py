"""BytePS as released, which benchmarks compare with."""
