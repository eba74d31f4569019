"""Starting BytePS's roles: their environment, one process each, and what becomes of them.

:mod:`~byteps_gc.cluster.roles` builds a role's environment,
:mod:`~byteps_gc.cluster.bpslaunch` turns a process into a role,
:mod:`~byteps_gc.cluster.local` watches the roles of one machine.
:mod:`~byteps_gc.cluster.host` knows one host of a cluster, on which
:mod:`~byteps_gc.cluster.run` runs an experiment's jobs in the folder that
:mod:`~byteps_gc.cluster.folders` finds, while
:mod:`~byteps_gc.cluster.roll` keeps in touch with the other hosts, by
:mod:`~byteps_gc.cluster.door` and :mod:`~byteps_gc.cluster.line`, the two ends of their connections, which
:mod:`~byteps_gc.cluster.secret` closes to others.
:mod:`~byteps_gc.cluster.namespaces` makes hosts of this machine's namespaces, and
:mod:`~byteps_gc.cluster.one_machine` runs an experiment on them by ssh and pssh.
"""
