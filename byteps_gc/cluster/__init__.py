"""Starting BytePS's roles: their environment, one process each, and what becomes of them.

:mod:`~byteps_gc.cluster.roles` builds a role's environment,
:mod:`~byteps_gc.cluster.bpslaunch` turns a process into a role,
:mod:`~byteps_gc.cluster.supervisor` watches the roles of one machine.
:mod:`~byteps_gc.cluster.cluster_spec` knows one host of a cluster, on which
:mod:`~byteps_gc.cluster.run` runs an experiment's jobs in the folder that
:mod:`~byteps_gc.cluster.run_folder` finds, while
:mod:`~byteps_gc.cluster.rendezvous` keeps in touch with the other hosts, by
connections that :mod:`~byteps_gc.cluster.secret` closes to others.
:mod:`~byteps_gc.cluster.namespaces` makes hosts of this machine's namespaces, and
:mod:`~byteps_gc.cluster.simulated_cluster` runs an experiment on them by ssh and pssh.
"""
