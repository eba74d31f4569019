// The engine's message layer as the harness has it: without a network, and in a process that does not end.
#ifndef BYTEPS_GC_FUZZ_ENGINE_H
#define BYTEPS_GC_FUZZ_ENGINE_H

// all that private members are not made public of
#include <arpa/inet.h>
#include <malloc.h>
#include <netdb.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "input.h"
#include "network.h"

namespace fuzz {

struct Exit {
  int status;
};

// What a process does that ends, waits for news, or looks a host up.
[[noreturn]] inline void exit_process(int status) { throw Exit{status}; }
inline int print(...) { return 0; }
int wait_for_news(pollfd* news, nfds_t count, int milliseconds);
inline int no_such_host(const char*, const char*, const addrinfo*, addrinfo**) { return EAI_NONAME; }

// The targets.
void attack_message(int role, Input* in);  // ps::Node::Role
void attack_liveness(Input* in);
void attack_regions(Input* in);
void attack_requests(Input* in);

constexpr int kPeers = 2;  // workers, and servers

constexpr uint64_t kExtremes[] = {
    0,          1,          2,          3,          7,          8,          15,         16,
    31,         32,         63,         0x7f,       0xff,       0xfff,      0x1000,     0x7fff,
    0xffff,     0x10000,    0x10001,    0xfffff,    0x7fffffff, 1u << 31,   ~0u,        ~0u - 1,
    1ull << 32, 1ull << 45, 1ull << 62, ~0ull / 2,  1ull << 63, ~0ull - 7,  ~0ull - 1,  ~0ull};

inline uint64_t extreme(Input* in) { return kExtremes[in->byte() % (sizeof kExtremes / sizeof *kExtremes)]; }

// Changes some of a text's bytes, or its length.
void change(std::string* text, Input* in);

}  // namespace fuzz

#define _exit fuzz::exit_process
#define fprintf fuzz::print
#define poll fuzz::wait_for_news
#define getaddrinfo fuzz::no_such_host
#define private public
#define protected public

#endif  // BYTEPS_GC_FUZZ_ENGINE_H
