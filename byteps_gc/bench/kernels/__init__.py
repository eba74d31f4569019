"""The benchmark of the compressors' kernels."""
