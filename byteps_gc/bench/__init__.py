"""Benchmarks: how fast this package's compressors are, beside memory and beside BytePS as released."""
