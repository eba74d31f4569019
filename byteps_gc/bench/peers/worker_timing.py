"""The rounds of a worker that exchanges something again and again, and the lines that it prints around them.

Peers run this in environments without this package, next to their own program: nothing of it is imported here.
"""

import json
import sys
import time

# what a worker prints around what is measured, and what it has measured itself
BEGIN = "bench: begin"
END = "bench: end"
RESULT = "bench: result "
NOTICED = 0.3  # seconds in which whoever hears that rounds begin or end looks at its counters


def say(line: str) -> None:
    """Print a line in one piece, whatever the threads of this process print meanwhile."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def timed(work) -> float:
    """The seconds that a call takes."""
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def take(warm_up, rounds, barrier, exchange, before=lambda: None, **more) -> None:
    """Time ``rounds`` rounds after ``warm_up`` rounds that do not count, and print each one's seconds.

    barrier: waits for all workers; exchange: what is measured, from its call to its return; before: what each round
    needs first; more: what else is to be said.
    """
    seconds = []
    for number in range(warm_up + rounds):
        before()
        if number == warm_up:
            say(BEGIN)
            time.sleep(NOTICED)
        barrier()
        seconds.append(timed(exchange))
    say(END)
    time.sleep(NOTICED)
    barrier()
    say(RESULT + json.dumps({"rounds": seconds[warm_up:], **more}))
