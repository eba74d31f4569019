// Names of shared memory and sockets that are unique to each worker of a host.
#ifndef BYTEPS_GC_LOCAL_SCOPE_H
#define BYTEPS_GC_LOCAL_SCOPE_H

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "logging.h"

namespace byteps {
namespace common {

// The processes of one worker share a scope, and other workers have other
// scopes. bpslaunch names it, except for a worker of one process.
inline std::string LocalScope() {
  const char* named = getenv("BYTEPS_GC_LOCAL_SCOPE");
  if (named) return std::string("byteps_gc_") + named + "_";
  const char* size = getenv("BYTEPS_LOCAL_SIZE");
  if (!size || atoi(size) <= 1) {
    return "byteps_gc_" + std::to_string(getpid()) + "_";
  }
  std::string scope = "byteps_gc_" + std::to_string(getuid());
  for (const char* part :
       {"DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_WORKER_ID"}) {
    const char* value = getenv(part);
    scope += std::string("_") + (value ? value : "");
  }
  return scope + "_";
}

// An address in Linux's abstract namespace: it needs no writable folder, and
// disappears with the process however that ends.
inline socklen_t AbstractAddress(const std::string& name, sockaddr_un* address) {
  BPS_CHECK_LT(name.size(), sizeof(address->sun_path) - 1)
      << "socket name " << name << " is too long; set a shorter BYTEPS_SOCKET_PATH";
  std::memset(address, 0, sizeof(*address));
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path + 1, name.data(), name.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 +
                                name.size());
}

// Lets ReceiveOwn() see the senders; called before the socket is bound.
inline void ShowSenders(int fd) {
  const int on = 1;
  BPS_CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0) << std::strerror(errno);
}

// recv() from this user's processes. Any user can send to an abstract address;
// messages of other users are dropped.
inline ssize_t ReceiveOwn(int fd, void* data, size_t size) {
  while (true) {
    iovec content{data, size};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(ucred))];
    msghdr message{};
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    const ssize_t received = recvmsg(fd, &message, 0);
    if (received < 0) return received;
    const cmsghdr* control = CMSG_FIRSTHDR(&message);
    if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_CREDENTIALS) continue;
    ucred sender;
    std::memcpy(&sender, CMSG_DATA(control), sizeof sender);
    if (sender.uid == geteuid()) return received;
  }
}

}  // namespace common
}  // namespace byteps

#endif  // BYTEPS_GC_LOCAL_SCOPE_H
