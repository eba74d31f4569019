"""The fluid model of push/pull: its limits and bounds."""

import math
import random

from byteps_gc.bench.links import HEADERS, Connection, Part, fair_rates, step_seconds
import pytest

SERVERS = 2  # per host


def parts_of(seed, hosts):
    """Random partitions on all servers."""
    rng = random.Random(seed)
    return [Part(rng.randrange(hosts * SERVERS), rng.uniform(1e3, 1e6), rng.uniform(0.01, 0.1)) for _ in range(20)]


def bytes_on_links(parts, hosts):
    """Bytes that each host sends in a step; it receives as many."""
    sent = [0.0] * hosts
    for part in parts:
        server = part.server // SERVERS
        for host in range(hosts):
            sent[host] += part.bytes * (hosts - 1 if host == server else 1)
    return [HEADERS * size for size in sent]


@pytest.mark.parametrize("hosts, bits, size", [(1, 1e6, 1e6), (3, math.inf, 1e6), (3, 1e6, 0.0)])
def test_without_a_network_a_step_ends_with_its_last_gradient(hosts, bits, size):
    """One host, no bandwidth limit, or nothing to send."""
    parts = [Part(index % hosts, size, 0.1 * index) for index in range(5)]
    assert step_seconds(parts, hosts, 1, bits) == pytest.approx(0.4)


def test_a_push_waits_for_its_gradient_and_a_reply_for_all_pushes():
    """8 s for a push to the other host, and 8 s for the reply; what stays on a host takes no time."""
    assert step_seconds([Part(0, 1e6 / HEADERS, 2.0)], 2, 1, 1e6) == pytest.approx(2 + 8 + 8)


def test_two_links_carry_both_directions_at_once():
    """A partition on each of two hosts: 8 s of pushes on both links, and 8 s of replies."""
    assert step_seconds([Part(0, 1e6 / HEADERS, 0), Part(1, 1e6 / HEADERS, 0)], 2, 1, 1e6) == pytest.approx(16)


@pytest.mark.parametrize("hosts", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_a_step_takes_at_least_its_busiest_link_and_at_most_all_links_in_turn(hosts, seed):
    parts, bits = parts_of(seed, hosts), 1e8
    links = [8 * size / bits for size in bytes_on_links(parts, hosts)]
    ready = [part.ready for part in parts]
    assert max(max(ready), max(links)) <= step_seconds(parts, hosts, SERVERS, bits) * (1 + 1e-9)
    assert step_seconds(parts, hosts, SERVERS, bits) <= max(ready) + sum(links)


@pytest.mark.parametrize("seed", range(4))
def test_time_scales_with_bytes_and_bandwidth(seed):
    parts = parts_of(seed, 3)
    once = step_seconds(parts, 3, SERVERS, 1e8)
    more = [part._replace(bytes=4 * part.bytes) for part in parts]
    assert step_seconds(more, 3, SERVERS, 4e8) == pytest.approx(once)
    slower = [part._replace(ready=4 * part.ready) for part in more]
    assert step_seconds(slower, 3, SERVERS, 1e8) == pytest.approx(4 * once)


@pytest.mark.parametrize("seed", range(4))
def test_rates_are_max_min_fair(seed):
    """No link carries more than it can, and each connection has a full link on which no other one is faster."""
    rng = random.Random(seed)
    pairs = [rng.sample(range(4), 2) for _ in range(12)]
    rates = fair_rates([Connection(*pair, server=0, replies=False) for pair in pairs], 100.0)
    users = {}
    for (source, target), rate in zip(pairs, rates):
        for link in ((source, "out"), (target, "in")):
            users.setdefault(link, []).append(rate)
    assert all(sum(found) <= 100 * (1 + 1e-9) for found in users.values())
    for (source, target), rate in zip(pairs, rates):
        links = (users[source, "out"], users[target, "in"])
        assert any(sum(found) == pytest.approx(100) and rate == pytest.approx(max(found)) for found in links)
