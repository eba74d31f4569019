"""A worker that exchanges gradients as Horovod's MXNet trainer does, with gloo: horovod_worker.py '{...}'

For :mod:`byteps_gc.bench.peers`, in an environment of its own that has Horovod and not this package. Rank 0 also serves
the rendezvous at which the workers meet.
"""

import json
import sys
import threading

import worker_timing


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

    def barrier():
        hvd.allreduce(token, name="barrier").wait_to_read()

    def exchange():
        for index, gradient in enumerate(gradients):
            hvd.allreduce_(gradient, average=True, name=f"gradient_{index}", priority=-index)
        mx.nd.waitall()

    worker_timing.take(options["warm_up"], options["rounds"], barrier, exchange)
    hvd.shutdown()


if __name__ == "__main__":
    main()
