#include "network.h"

#include <zmq.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

using fuzz::line;
using fuzz::Line;

namespace {

struct Held {
  void* data;
  size_t size;
  zmq_free_fn* release;
  void* hint;
  bool more;
};
static_assert(sizeof(Held) <= sizeof(zmq_msg_t), "a message has room");

Held& held(zmq_msg_t* message) { return *reinterpret_cast<Held*>(message); }

void release_by_free(void* data, void*) { free(data); }

}  // namespace

extern "C" {

int zmq_msg_init(zmq_msg_t* message) {
  new (message) Held();
  return 0;
}

int zmq_msg_init_size(zmq_msg_t* message, size_t size) {
  new (message) Held{malloc(size), size, release_by_free, nullptr, false};
  return 0;
}

int zmq_msg_init_data(zmq_msg_t* message, void* data, size_t size, zmq_free_fn* release, void* hint) {
  new (message) Held{data, size, release, hint, false};
  return 0;
}

int zmq_msg_close(zmq_msg_t* message) {
  if (held(message).release) held(message).release(held(message).data, held(message).hint);
  return zmq_msg_init(message);
}

void* zmq_msg_data(zmq_msg_t* message) { return held(message).data; }
size_t zmq_msg_size(const zmq_msg_t* message) { return held(const_cast<zmq_msg_t*>(message)).size; }
int zmq_msg_more(const zmq_msg_t* message) { return held(const_cast<zmq_msg_t*>(message)).more; }
const char* zmq_msg_gets(const zmq_msg_t*, const char*) { return nullptr; }

int zmq_msg_send(zmq_msg_t* message, void* socket, int flags) {
  Line& to = line(socket);
  if (!to.open) to.sent.emplace_back();
  to.sent.back().emplace_back(static_cast<char*>(held(message).data), held(message).size);
  to.open = flags & ZMQ_SNDMORE;
  return zmq_msg_close(message);
}

int zmq_msg_recv(zmq_msg_t* message, void* socket, int) {
  Line& from = line(socket);
  if (from.received == from.arriving.size()) {
    errno = EAGAIN;
    return -1;
  }
  const fuzz::Parts& parts = from.arriving[from.received];
  const std::string& part = parts[from.taken++];
  zmq_msg_close(message);
  zmq_msg_init_size(message, part.size());
  if (!part.empty()) memcpy(held(message).data, part.data(), part.size());
  held(message).more = from.taken < parts.size();
  if (held(message).more) return 0;
  ++from.received;
  from.taken = 0;
  return 0;
}

void* zmq_socket(void*, int) { return new Line; }
int zmq_close(void* socket) {
  delete &line(socket);
  return 0;
}
int zmq_setsockopt(void*, int, const void*, size_t) { return 0; }
int zmq_getsockopt(void*, int option, void* value, size_t*) {
  *static_cast<int*>(value) = option == ZMQ_FD ? -1 : 0;
  return 0;
}
int zmq_bind(void*, const char*) { return 0; }
int zmq_connect(void*, const char*) { return 0; }
int zmq_socket_monitor_versioned(void*, const char*, uint64_t, int, int) { return 0; }
void* zmq_ctx_new() { return nullptr; }
int zmq_ctx_set(void*, int, int) { return 0; }
int zmq_ctx_destroy(void*) { return 0; }
const char* zmq_strerror(int error) { return strerror(error); }
int zmq_curve_public(char*, const char*) { return -1; }
uint8_t* zmq_z85_decode(uint8_t*, const char*) { return nullptr; }
}
