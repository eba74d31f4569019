"""The benchmark of a model's exchange against other systems."""
