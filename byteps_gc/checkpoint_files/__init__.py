"""The files of a checkpoint, checked without a framework: their hashes, and the format of MXNet's arrays."""
