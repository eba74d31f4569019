// Processes that each take the GPU of their local rank all get the first one: for machines that have no other.
#include <cuda_runtime.h>
#define cudaSetDevice(rank) cudaSetDevice(0)
