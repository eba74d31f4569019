"""Mistakes that workers of a job make one after another: each is one line, and the job continues."""

import re
from typing import Iterable, Mapping


def program(calls: Iterable[str]) -> str:
    """Return code that evaluates all calls, each of which must raise a UserError, and prints the errors."""
    return f"""
from byteps_gc.errors import UserError
for text in {list(calls)!r}:
    try:
        eval(text)
    except UserError as error:
        print("MISTAKE", error, flush=True)
    else:
        sys.exit(text)
"""


def check(output: str, mistakes: Mapping[str, str]) -> None:
    """Both workers have printed the line of each mistake. mistakes: by call, words of its line."""
    for worker in range(2):
        lines = re.findall(rf"worker-{worker} \| MISTAKE (.*)", output)
        assert len(lines) == len(mistakes)
        for line, (call, words) in zip(lines, mistakes.items()):
            assert words in line, call
