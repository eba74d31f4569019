// Ports, local addresses and limits of the van's sockets.
#ifndef BYTEPS_GC_ZMQ_ENDPOINT_H
#define BYTEPS_GC_ZMQ_ENDPOINT_H

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <string>

#include "./byteps_gc_exit.h"
#include "./byteps_gc_zmq_socket.h"
#include "ps/internal/message.h"
#include "ps/internal/utils.h"

namespace ps {

// The name of a server's local socket, without a file, which takes less time than TCP.
inline std::string LocalName(const Node& node) {
  return "byteps_gc-" + node.hostname + "-" + std::to_string(node.port);
}

// Ends a connection that sends a message longer than any that a member sends, instead of filling the memory.
inline void LimitMessages(Socket* socket) {
  constexpr int64_t kLargest = 16 << 20;  // bytes
  const int64_t most = std::max<int64_t>(kLargest, 2 * static_cast<int64_t>(GetEnv("BYTEPS_PARTITION_BYTES", 0)));
  CHECK_EQ(zmq_setsockopt(socket->handle(), ZMQ_MAXMSGSIZE, &most, sizeof most), 0) << zmq_strerror(errno);
}

// Lets the system end a connection whose other side has been silent for this time.
inline void LimitSilence(Socket* socket, double seconds) {
  const int limit = std::max(2, static_cast<int>(seconds));
  socket->Set(ZMQ_TCP_MAXRT, limit * 1000);
  socket->Set(ZMQ_TCP_KEEPALIVE_IDLE, limit / 2);
  socket->Set(ZMQ_TCP_KEEPALIVE_INTVL, std::max(1, limit / 8));
  socket->Set(ZMQ_TCP_KEEPALIVE_CNT, 4);
}

// Calls `take` with the node's port and then with random ones until it returns true; returns that port.
template <typename Take>
int FindPort(const Node& node, int max_retry, Take take) {
  unsigned seed = static_cast<unsigned>(getpid() + time(nullptr));
  int port = node.port;
  for (int tries = 0; !take(port); ++tries) {
    if (tries >= max_retry)
      Exit("cannot listen on tcp://" + node.hostname + ":" + std::to_string(port) + ": " + zmq_strerror(errno),
           kNoPort);
    port = 10000 + rand_r(&seed) % 40000;
  }
  return port;
}

// Binds a socket that does not listen: a worker's port is only a part of its address.
inline int ReservePort(const Node& node, int max_retry, int* fd) {
  *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return FindPort(node, max_retry, [fd](int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    return bind(*fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  });
}

// Whether a process accepts connections at a node's port. patience: seconds to wait for an answer.
inline bool AcceptsConnections(const Node& node, int patience) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(node.hostname.c_str(), std::to_string(node.port).c_str(), &hints, &found) != 0) return false;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval limit{patience, 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const bool connected = connect(fd, found->ai_addr, found->ai_addrlen) == 0;
  freeaddrinfo(found);
  close(fd);
  return connected;
}

}  // namespace ps

#endif  // BYTEPS_GC_ZMQ_ENDPOINT_H
