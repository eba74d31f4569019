"""The benchmark of the engine against stock BytePS."""
