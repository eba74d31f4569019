"""File names as text. Linux allows every byte in a name but NUL and "/", whatever the locale."""

import os
from pathlib import Path
from typing import Union


def shown(name: Union[str, Path]) -> str:
    """Return a file name as one line of text; bytes that are not UTF-8 and control characters become escapes."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
