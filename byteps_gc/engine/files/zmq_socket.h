// ZeroMQ sockets that several threads share, and a thread that waits for many.
//
// Only one thread at a time may use a ZeroMQ socket, so each has a lock. Its
// file descriptor is edge-triggered: any use of the socket consumes the event.
// A waiting thread therefore has a second descriptor, the alarm, which a sender
// raises when it may have consumed an event of the receiver.
#ifndef BYTEPS_GC_ZMQ_SOCKET_H
#define BYTEPS_GC_ZMQ_SOCKET_H

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ps/base.h"

namespace ps {

class Alarm {
 public:
  Alarm() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { CHECK_GE(fd_, 0) << strerror(errno); }
  ~Alarm() { close(fd_); }
  Alarm(const Alarm&) = delete;

  int fd() const { return fd_; }
  void Raise() {
    const uint64_t one = 1;
    while (write(fd_, &one, sizeof one) < 0 && errno == EINTR) {
    }
  }
  void Reset() {
    uint64_t count;
    while (read(fd_, &count, sizeof count) < 0 && errno == EINTR) {
    }
  }

 private:
  const int fd_;
};

// One part of a message. release() passes the ownership of its bytes on.
class Part {
 public:
  Part() : message_(new zmq_msg_t) { zmq_msg_init(message_.get()); }
  explicit Part(const void* data, size_t size) : message_(new zmq_msg_t) {
    CHECK_EQ(zmq_msg_init_size(message_.get(), size), 0) << "out of memory";
    if (data) memcpy(this->data(), data, size);
  }
  explicit Part(const std::string& text) : Part(text.data(), text.size()) {}
  // Refers to bytes without a copy; release(hint) is called when they have been sent.
  Part(void* data, size_t size, zmq_free_fn* release, void* hint) : message_(new zmq_msg_t) {
    CHECK_EQ(zmq_msg_init_data(message_.get(), data, size, release, hint), 0) << "out of memory";
  }

  char* data() { return static_cast<char*>(zmq_msg_data(message_.get())); }
  size_t size() { return zmq_msg_size(message_.get()); }
  std::string text() { return std::string(data(), size()); }
  bool more() { return zmq_msg_more(message_.get()); }
  zmq_msg_t* get() { return message_.get(); }
  zmq_msg_t* release() { return message_.release(); }

  static void Close(zmq_msg_t* message) {
    zmq_msg_close(message);
    delete message;
  }

 private:
  struct Closer {
    void operator()(zmq_msg_t* message) const { Close(message); }
  };
  std::unique_ptr<zmq_msg_t, Closer> message_;
};

class Socket {
 public:
  Socket(void* context, int type) : handle_(zmq_socket(context, type)) {
    CHECK(handle_) << "cannot create a socket: " << zmq_strerror(errno) << "; raise BYTEPS_ZMQ_MAX_SOCKET or ulimit -n";
    // the tensors bound the queues; a blocked sender would hold the lock that the receiver needs
    Set(ZMQ_SNDHWM, 0);
    Set(ZMQ_RCVHWM, 0);
    // messages to a process that has ended cannot be delivered, and must not keep the context open
    Set(ZMQ_LINGER, 0);
    // a firewall may drop an idle connection, as during validation
    Set(ZMQ_TCP_KEEPALIVE, 1);
    Set(ZMQ_TCP_KEEPALIVE_IDLE, 60);
  }
  // Sent messages are still delivered: all other processes wait for the scheduler's last message.
  ~Socket() {
    Set(ZMQ_LINGER, patience_);
    zmq_close(handle_);
  }
  Socket(const Socket&) = delete;

  void Set(int option, int value) {
    CHECK_EQ(zmq_setsockopt(handle_, option, &value, sizeof value), 0) << zmq_strerror(errno);
  }
  void Set(int option, const std::string& value) {
    CHECK_EQ(zmq_setsockopt(handle_, option, value.data(), value.size()), 0) << zmq_strerror(errno);
  }
  // Sets the milliseconds in which sent messages are still delivered after the socket is closed.
  void SetPatience(int milliseconds) { patience_ = milliseconds; }
  void* handle() { return handle_; }
  std::mutex& lock() { return lock_; }

  int fd() {
    int fd = -1;
    size_t size = sizeof fd;
    CHECK_EQ(zmq_getsockopt(handle_, ZMQ_FD, &fd, &size), 0);
    return fd;
  }

  // Receives the next message; returns false if there is none.
  bool Receive(std::vector<Part>* parts) {
    std::lock_guard<std::mutex> guard(lock_);
    parts->clear();
    do {
      parts->emplace_back();
      while (zmq_msg_recv(parts->back().get(), handle_, ZMQ_DONTWAIT) < 0) {
        if (errno == EAGAIN && parts->size() == 1) return false;
        CHECK(errno == EINTR || errno == EAGAIN) << zmq_strerror(errno);
      }
    } while (parts->back().more());
    return true;
  }

  // Sends all parts as one message; returns false if the peer that the first part names is not connected. Raises the
  // alarm if a message may have arrived in the meantime.
  bool Send(std::vector<Part>* parts, Alarm* alarm) {
    std::lock_guard<std::mutex> guard(lock_);
    for (size_t i = 0; i < parts->size(); ++i) {
      const int more = i + 1 < parts->size() ? ZMQ_SNDMORE : 0;
      while (zmq_msg_send((*parts)[i].get(), handle_, more) < 0) {
        if (errno == EHOSTUNREACH) return false;
        CHECK_EQ(errno, EINTR) << zmq_strerror(errno);
      }
    }
    if (alarm && HasInput()) alarm->Raise();
    return true;
  }

 private:
  bool HasInput() {
    int events = 0;
    size_t size = sizeof events;
    while (zmq_getsockopt(handle_, ZMQ_EVENTS, &events, &size) != 0) {
      if (errno != EINTR) return false;
    }
    return events & ZMQ_POLLIN;
  }

  std::mutex lock_;
  void* const handle_;
  int patience_ = 20000;
};

// The events of a socket's connections; created before the socket is bound or connected.
class Events {
 public:
  Events(void* context, Socket* socket, int wanted) : socket_(context, ZMQ_PAIR) {
    const std::string name = "inproc://byteps_gc-" + std::to_string(reinterpret_cast<uintptr_t>(socket));
    const int failed = zmq_socket_monitor_versioned(socket->handle(), name.c_str(), wanted, kVersion, ZMQ_PAIR);
    CHECK_EQ(failed, 0) << zmq_strerror(errno);
    CHECK_EQ(zmq_connect(socket_.handle(), name.c_str()), 0) << zmq_strerror(errno);
  }

  int fd() { return socket_.fd(); }

  // Gets the next event and the peer's address, such as "tcp://10.0.0.2:1234"; returns false if there is none.
  bool Next(int* event, std::string* remote) {
    std::vector<Part> parts;
    uint64_t kind = 0;
    do {
      if (!socket_.Receive(&parts)) return false;
    } while (parts.size() < kParts || parts[0].size() != sizeof kind);
    memcpy(&kind, parts[0].data(), sizeof kind);
    *event = static_cast<int>(kind);
    *remote = parts.back().text();
    return true;
  }

 private:
  static constexpr int kVersion = 2;   // of events
  static constexpr size_t kParts = 4;  // of an event, at least: kind, number of values, both addresses

  Socket socket_;
};

// Waits until a descriptor is ready, for `milliseconds` at most.
inline void Await(std::vector<pollfd>* news, int milliseconds) { poll(news->data(), news->size(), milliseconds); }

}  // namespace ps

#endif  // BYTEPS_GC_ZMQ_SOCKET_H
