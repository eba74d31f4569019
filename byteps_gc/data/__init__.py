"""Image sets as NumPy arrays, and how workers share them."""
