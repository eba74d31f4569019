// libnuma's API for a machine seen as one memory node, as far as BytePS calls
// it. BytePS places memory only where one worker drives devices on several PCIe
// switches; a host-memory worker has one process and no device.
#ifndef BYTEPS_GC_STANDIN_NUMA_H
#define BYTEPS_GC_STANDIN_NUMA_H

struct bitmask;
static bitmask* const numa_all_nodes_ptr = nullptr;
static bitmask* const numa_no_nodes_ptr = nullptr;

inline int numa_max_node() { return 0; }
inline void numa_set_preferred(int) {}
inline void numa_set_interleave_mask(bitmask*) {}
inline bitmask* numa_parse_nodestring(const char*) { return nullptr; }
inline void numa_bind(bitmask*) {}

#endif  // BYTEPS_GC_STANDIN_NUMA_H
