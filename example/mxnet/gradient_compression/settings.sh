# The one settings file of a cluster: every script here reads it. What is set in
# the environment wins. As it stands, a job runs on this machine's loopback.

# The hosts, each once, by IPv4 address or name; or a file of them (a path with a
# slash, one host a line, "user@" allowed: the file that pssh -h reads).
: "${BYTEPS_GC_HOSTS:=127.0.0.1}"
# The scheduler's address (empty: the first host's) and its port, where the hosts of
# a run meet; its jobs take the next ones. 0, for one host only: any free port.
: "${BYTEPS_GC_SCHEDULER:=}"
: "${BYTEPS_GC_PORT:=0}"
: "${BYTEPS_GC_WORKERS_PER_HOST:=2}"
: "${BYTEPS_GC_SERVERS_PER_HOST:=2}"
# The GPUs of a host, such as 0,1,2,3,4,5,6,7: one process each. Empty: the CPU.
: "${BYTEPS_GC_GPUS:=}"
# A network interface, if not the one of the host's address above.
: "${BYTEPS_GC_INTERFACE:=}"
# The folder of a run's logs, table and plot (empty: one in runs/ where run.sh is started).
: "${BYTEPS_GC_RUN_DIR:=}"
# The experiment (a file NAME.ini beside this one), and the Python to run.
: "${BYTEPS_GC_EXPERIMENT:=cifar100}"
: "${BYTEPS_GC_PYTHON:=$(ls "$here/../../../.venv/bin/python" 2>/dev/null || command -v python3)}"
export "${!BYTEPS_GC_@}"

# The guide's environment, the same for scheduler, servers and workers. worker.sh has the one value that depends on
# the job. Tensors below BYTEPS_MIN_COMPRESS_BYTES are not compressed; BytePS's default is 65536.
: "${BYTEPS_LOG_LEVEL:=WARNING}"
: "${BYTEPS_PARTITION_BYTES:=4096000}"
: "${BYTEPS_MIN_COMPRESS_BYTES:=1024000}"
: "${BYTEPS_NUMA_ON:=1}"
: "${OMP_WAIT_POLICY:=PASSIVE}"
# OMP_NUM_THREADS, unless it is set: the guide's 4, or a worker's share of this host's cores if that is less.
export BYTEPS_LOG_LEVEL BYTEPS_PARTITION_BYTES BYTEPS_MIN_COMPRESS_BYTES BYTEPS_NUMA_ON OMP_WAIT_POLICY
