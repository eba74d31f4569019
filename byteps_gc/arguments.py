"""Command lines: a parser whose errors are one line, and the words after "--"."""

import argparse
from typing import List, NoReturn, Tuple


class Parser(argparse.ArgumentParser):
    """Reports an error in one line, without the usage, and exits with status 2."""

    def error(self, message: str) -> NoReturn:
        """Exit."""
        self.exit(2, f"{self.prog}: {message}\n")


def split(words: List[str]) -> Tuple[List[str], List[str]]:
    """Return the words before the first "--", and those after it."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]
