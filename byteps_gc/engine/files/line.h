// A TCP connection that carries lines of text between two processes of a job, and never makes its user wait.
#ifndef BYTEPS_GC_LINE_H
#define BYTEPS_GC_LINE_H

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>

namespace ps {

class Line {
 public:
  explicit Line(int fd) : fd_(fd) {}
  ~Line() { close(fd_); }
  Line(const Line&) = delete;

  // The address of a host's port; false if the host has none.
  static bool Find(const std::string& host, int port, sockaddr_in* address) {
    addrinfo hints{}, *found = nullptr;
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return false;
    *address = *reinterpret_cast<sockaddr_in*>(found->ai_addr);
    freeaddrinfo(found);
    return true;
  }

  // Calls a process; null if none answers within so many seconds.
  static std::unique_ptr<Line> Call(const std::string& host, int port, int seconds) {
    sockaddr_in address;
    if (!Find(host, port, &address)) return nullptr;
    std::unique_ptr<Line> line(new Line(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    const timeval patience{seconds, 0};
    setsockopt(line->fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(line->fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return nullptr;
    return line;
  }

  // A door at a port of this host that the system chooses: Accept lets callers in.
  static std::unique_ptr<Line> Open(const std::string& host, int* port) {
    sockaddr_in address;
    socklen_t size = sizeof address;
    std::unique_ptr<Line> door(new Line(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
    if (!Find(host, 0, &address) || bind(door->fd_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(door->fd_, 8) != 0 || getsockname(door->fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      return nullptr;
    *port = ntohs(address.sin_port);
    return door;
  }
  std::unique_ptr<Line> Accept() {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    return std::unique_ptr<Line>(fd < 0 ? nullptr : new Line(fd));
  }

  int fd() const { return fd_; }

  // What cannot be sent now is left out: the other side has stopped reading.
  void Say(const std::string& text) { send(fd_, (text + "\n").data(), text.size() + 1, MSG_DONTWAIT | MSG_NOSIGNAL); }

  // The next line, if one has come.
  bool Next(std::string* text) {
    char room[1024];
    ssize_t size;
    while (!closed_ && (size = recv(fd_, room, sizeof room, MSG_DONTWAIT)) != -1) {
      if (size == 0 || heard_.size() > sizeof room * 8) closed_ = true;
      heard_.append(room, size);
    }
    if (!closed_ && errno != EAGAIN && errno != EINTR) closed_ = true;
    const size_t end = heard_.find('\n');
    if (end == std::string::npos) return false;
    *text = heard_.substr(0, end);
    heard_.erase(0, end + 1);
    return true;
  }

  // Whether the other side has gone.
  bool closed() const { return closed_; }

 private:
  const int fd_;
  std::string heard_;
  bool closed_ = false;
};

}  // namespace ps

#endif  // BYTEPS_GC_LINE_H
