// Send a message over CURVE with the engine's libzmq: with the server's key, with another key, and without one.
#include <zmq.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kPatience = 20000;  // milliseconds
constexpr int kFailures =
    ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

void Check(bool good) {
  if (good) return;
  std::fprintf(stderr, "%s\n", zmq_strerror(zmq_errno()));
  std::exit(1);
}

struct Keys {
  Keys() { Check(zmq_curve_keypair(open, secret) == 0); }
  char open[41], secret[41];
};

void Set(void* socket, int option, int value) { Check(zmq_setsockopt(socket, option, &value, sizeof value) == 0); }
void SetKey(void* socket, int option, const char* key) { Check(zmq_setsockopt(socket, option, key, 40) == 0); }

void* Socket(void* context, int type) {
  void* socket = zmq_socket(context, type);
  Set(socket, ZMQ_LINGER, 0);
  Set(socket, ZMQ_RCVTIMEO, kPatience);
  return socket;
}

// Connects to a CURVE server, with the key that is expected of it or without CURVE, and sends a message.
const char* Try(void* context, const Keys& server, const char* expected, const char* monitor) {
  void* receiver = Socket(context, ZMQ_ROUTER);
  Set(receiver, ZMQ_CURVE_SERVER, 1);
  SetKey(receiver, ZMQ_CURVE_SECRETKEY, server.secret);
  Check(zmq_socket_monitor(receiver, monitor, kFailures | ZMQ_EVENT_HANDSHAKE_SUCCEEDED) == 0);
  void* events = Socket(context, ZMQ_PAIR);
  Check(zmq_connect(events, monitor) == 0);
  Check(zmq_bind(receiver, "tcp://127.0.0.1:*") == 0);
  char address[64];
  size_t size = sizeof address;
  Check(zmq_getsockopt(receiver, ZMQ_LAST_ENDPOINT, address, &size) == 0);

  void* sender = Socket(context, ZMQ_DEALER);
  if (expected) {
    const Keys keys;
    SetKey(sender, ZMQ_CURVE_SERVERKEY, expected);
    SetKey(sender, ZMQ_CURVE_PUBLICKEY, keys.open);
    SetKey(sender, ZMQ_CURVE_SECRETKEY, keys.secret);
  }
  Check(zmq_connect(sender, address) == 0);
  Check(zmq_send(sender, "gradient", 8, 0) == 8);

  unsigned char event[16] = {};
  Check(zmq_recv(events, event, sizeof event, 0) >= 2);
  uint16_t what;
  std::memcpy(&what, event, sizeof what);
  const char* outcome = "refused";
  if (!(what & kFailures)) {
    char name[256], text[16] = {};
    Check(zmq_recv(receiver, name, sizeof name, 0) > 0);
    const bool whole = zmq_recv(receiver, text, sizeof text, 0) == 8 && !std::memcmp(text, "gradient", 8);
    outcome = whole ? "received" : "changed";
  }
  zmq_socket_monitor(receiver, nullptr, 0);
  zmq_close(sender);
  zmq_close(events);
  zmq_close(receiver);
  return outcome;
}

}  // namespace

int main() {
  int major, minor, patch;
  zmq_version(&major, &minor, &patch);
  std::printf("libzmq %d.%d.%d, ", major, minor, patch);
  std::printf("curve %d, ipc %d\n", zmq_has("curve"), zmq_has("ipc"));
  void* context = zmq_ctx_new();
  const Keys server, other;
  std::printf("the right key: %s\n", Try(context, server, server.open, "inproc://right"));
  std::printf("another key: %s\n", Try(context, server, other.open, "inproc://other"));
  std::printf("no key: %s\n", Try(context, server, nullptr, "inproc://none"));
  zmq_ctx_term(context);
}
