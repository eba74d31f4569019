"""Stock BytePS, which benchmarks compare with."""
