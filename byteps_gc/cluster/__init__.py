"""The processes of a job: their environment, their start, and their supervision, on one host or many.

:mod:`~byteps_gc.cluster.roles` builds a role's environment,
:mod:`~byteps_gc.cluster.bpslaunch` turns a process into a role, and
:mod:`~byteps_gc.cluster.supervisor` starts and watches the roles of one machine.
:mod:`~byteps_gc.cluster.cluster_spec` describes this machine as one host of a cluster.
:mod:`~byteps_gc.cluster.run` runs an experiment's jobs on it, in a run folder
(:mod:`~byteps_gc.cluster.run_folder`), while :mod:`~byteps_gc.cluster.rendezvous` connects it with the other hosts,
authenticated by a :mod:`~byteps_gc.cluster.secret`.
:mod:`~byteps_gc.cluster.namespaces` simulates hosts, and
:mod:`~byteps_gc.cluster.simulated_cluster` runs an experiment on them.
"""
