"""A worker that exchanges gradients as Horovod's MXNet trainer does, with gloo: peer_horovod.py '{...}'

For :mod:`byteps_gc.bench.peers`, in an environment of its own that has Horovod and not this package; what it prints
is what engine_worker prints. Rank 0 also serves the rendezvous at which the workers meet.
"""

import json
import sys
import threading
import time

BEGIN, END, RESULT = "bench: begin", "bench: end", "bench: result "


def say(line):
    """Print a line in one piece."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def serve(hosts, port):
    """The rendezvous, of one process on each host; it ends with this process."""
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    server = RendezvousHTTPServer(("", port), RendezvousHandler, False)
    server.init(get_host_assignments(parse_hosts(",".join(f"{host}:1" for host in hosts)), len(hosts)))
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main():
    """Exchange all gradients, round after round."""
    options = json.loads(sys.argv[1])
    if options["rank"] == 0:
        serve(options["hosts"], options["port"])
    import horovod.mxnet as hvd
    import mxnet as mx

    hvd.init()
    mx.random.seed(options["rank"])
    gradients = [mx.nd.random.normal(shape=shape) for shape in options["shapes"]]
    token = mx.nd.zeros(1)
    mx.nd.waitall()
    seconds = []
    for number in range(options["warm_up"] + options["rounds"]):
        hvd.allreduce(token, name="barrier").wait_to_read()
        if number == options["warm_up"]:
            say(BEGIN)
        begin = time.monotonic()
        for index, gradient in enumerate(gradients):
            hvd.allreduce_(gradient, average=True, name=f"gradient_{index}", priority=-index)
        mx.nd.waitall()
        seconds.append(time.monotonic() - begin)
    say(END)
    hvd.allreduce(token, name="barrier").wait_to_read()
    say(RESULT + json.dumps({"rounds": seconds[options["warm_up"] :]}))
    hvd.shutdown()


if __name__ == "__main__":
    main()
