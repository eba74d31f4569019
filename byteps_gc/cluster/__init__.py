"""Starting BytePS's roles: their environment, one process each, and what becomes of them.

:mod:`~byteps_gc.cluster.roles` builds a role's environment,
:mod:`~byteps_gc.cluster.bpslaunch` turns a process into a role,
:mod:`~byteps_gc.cluster.local` watches the roles of one machine, and
:mod:`~byteps_gc.cluster.host` runs an experiment's jobs on one host of a cluster.
"""
