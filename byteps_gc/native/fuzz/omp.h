// OpenMP as the harness has it: one thread.
inline int omp_get_num_procs() { return 1; }
