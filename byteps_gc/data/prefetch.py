"""Work that threads do ahead of whoever waits for it, but never far ahead."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
import itertools
from typing import Callable, Iterable, Iterator, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """The result of ``work`` for each item, in order; twice as many as ``threads`` are made before they are asked for.

    0 threads: none ahead. What ``work`` raises is raised when its result would have come.
    """
    if not threads:
        yield from map(work, items)
        return
    todo = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(work, item) for item in itertools.islice(todo, 2 * threads))
        while waiting:
            ready = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in itertools.islice(todo, 1))
            yield ready
