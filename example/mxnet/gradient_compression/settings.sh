# The settings of a cluster, read by every script here. Variables of the environment take precedence.
# With the defaults, a job runs on this machine's loopback.

# The hosts, by IPv4 address or name, or a file of them: a path with a slash, one host per line, "user@" allowed (the file
# that pssh -h reads).
: "${BYTEPS_GC_HOSTS:=127.0.0.1}"
# The scheduler's address (empty: the first host) and its port. The hosts of a run meet at this port; its jobs use the
# following ones. 0 means any free port, and works with one host only.
: "${BYTEPS_GC_SCHEDULER:=}"
: "${BYTEPS_GC_PORT:=0}"
: "${BYTEPS_GC_WORKERS_PER_HOST:=2}"
: "${BYTEPS_GC_SERVERS_PER_HOST:=2}"
# The GPUs of each host, such as 0,1,2,3,4,5,6,7, with one process per GPU. Empty: train on the CPU.
: "${BYTEPS_GC_GPUS:=}"
# The network interface (empty: the one of the host's address).
: "${BYTEPS_GC_INTERFACE:=}"
# The folder of a run's logs, table, plots and report (empty: a new one in runs/ in the current folder).
: "${BYTEPS_GC_RUN_DIR:=}"
# The file with the cluster's secret (empty: none), which keeps others out of its jobs: python -m byteps_gc secret
: "${BYTEPS_GC_SECRET_FILE:=$(ls "$here/secret" 2>/dev/null)}"
# The experiment (NAME.ini in this folder), and the Python interpreter.
: "${BYTEPS_GC_EXPERIMENT:=cifar100}"
: "${BYTEPS_GC_PYTHON:=$(ls "$here/../../../.venv/bin/python" 2>/dev/null || command -v python3)}"
# Threads that compress, per worker process of the job baseline, which compresses nothing.
: "${BYTEPS_GC_BASELINE_THREADS:=0}"
export "${!BYTEPS_GC_@}"

# The guide's environment of scheduler, servers and workers.
# Tensors below BYTEPS_MIN_COMPRESS_BYTES are not compressed; the recommended value is BytePS's default, 65536.
: "${BYTEPS_LOG_LEVEL:=WARNING}"
: "${BYTEPS_PARTITION_BYTES:=4096000}"
: "${BYTEPS_MIN_COMPRESS_BYTES:=1024000}"
: "${BYTEPS_NUMA_ON:=1}"
: "${BYTEPS_THREADPOOL_SIZE:=16}" # threads that compress, per worker process of all other jobs
: "${OMP_WAIT_POLICY:=PASSIVE}"
# OMP_NUM_THREADS defaults to the guide's 4, or to a worker's share of the host's cores if that is less.
export BYTEPS_LOG_LEVEL BYTEPS_PARTITION_BYTES BYTEPS_MIN_COMPRESS_BYTES BYTEPS_NUMA_ON BYTEPS_THREADPOOL_SIZE
export OMP_WAIT_POLICY
