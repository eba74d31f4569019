// Regions of memory that a worker shares with a server of its host.
//
// A region is a file without a name, which the worker passes to the server (SCM_RIGHTS). It exists until the last
// process that has mapped it ends.
#ifndef BYTEPS_GC_REGIONS_H
#define BYTEPS_GC_REGIONS_H

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace ps {

// A reference to bytes in a region, sent instead of the bytes.
struct Place {
  uint64_t region;  // number of the region among those that the worker has passed to the server
  uint64_t offset;
  uint64_t size;
};

// The message that passes a region to a server.
struct Gift {
  int worker;
  int number;  // of the region, from 0
  uint64_t size;
};

// A datagram socket with an abstract address.
class RegionSocket {
 public:
  explicit RegionSocket(const std::string& name) : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    address_.sun_family = AF_UNIX;
    const size_t size = std::min(name.size(), sizeof address_.sun_path - 1);
    memcpy(address_.sun_path + 1, name.data(), size);
    length_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  }
  ~RegionSocket() {
    if (fd_ >= 0) close(fd_);
  }
  RegionSocket(const RegionSocket&) = delete;

  int fd() const { return fd_; }
  bool Listen() {
    const int on = 1;
    return setsockopt(fd_, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 && bind(fd_, address(), length_) == 0;
  }

  // Passes a file to the listening process; returns false after a few seconds without success.
  bool Give(int file, Gift gift) {
    const timeval patience{5, 0};
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    Envelope envelope(&gift);
    envelope.message.msg_controllen = CMSG_SPACE(sizeof file);
    envelope.message.msg_name = &address_;
    envelope.message.msg_namelen = length_;
    cmsghdr* control = CMSG_FIRSTHDR(&envelope.message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof file);
    memcpy(CMSG_DATA(control), &file, sizeof file);
    return sendmsg(fd_, &envelope.message, MSG_NOSIGNAL) == sizeof gift;
  }

  // Receives the next file; returns false if there is none. The file is -1 unless it is the only one of its message,
  // and the sender is a process of this user.
  bool Take(Gift* gift, int* file) {
    Envelope envelope(gift);
    *file = -1;
    const ssize_t size = recvmsg(fd_, &envelope.message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) return false;
    bool alone = true;
    ucred giver{};
    giver.uid = static_cast<uid_t>(-1);
    msghdr* const message = &envelope.message;
    for (cmsghdr* control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
      if (control->cmsg_level != SOL_SOCKET) continue;
      if (control->cmsg_type == SCM_RIGHTS) alone = TakeFile(control, file);
      if (control->cmsg_type == SCM_CREDENTIALS) memcpy(&giver, CMSG_DATA(control), sizeof giver);
    }
    const bool whole = alone && size == sizeof *gift && !(envelope.message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    if (*file >= 0 && (!whole || giver.uid != geteuid())) {
      close(*file);
      *file = -1;
    }
    return true;
  }

 private:
  struct Envelope {
    explicit Envelope(Gift* gift) : content{gift, sizeof *gift} {
      message.msg_iov = &content;
      message.msg_iovlen = 1;
      message.msg_control = room;
      message.msg_controllen = sizeof room;
    }
    iovec content;
    msghdr message{};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(ucred))] = {};
  };

  // Takes the first file of a message and closes the others: padding leaves room for two. Returns whether there was
  // only one.
  static bool TakeFile(cmsghdr* control, int* file) {
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof *file;
    for (size_t i = count; i > 0; --i) {
      if (*file >= 0) close(*file);
      memcpy(file, CMSG_DATA(control) + (i - 1) * sizeof *file, sizeof *file);
    }
    return count == 1;
  }

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }

  const int fd_;
  sockaddr_un address_{};
  socklen_t length_;
};

// Memory that two processes share. It stays mapped until the process ends, as a message may still refer to it.
class Region {
 public:
  // Creates a region.
  explicit Region(size_t size) : file_(memfd_create("byteps_gc", MFD_CLOEXEC | MFD_ALLOW_SEALING)), size_(size) {
    if (file_ >= 0 && ftruncate(file_, size) == 0 && fcntl(file_, F_ADD_SEALS, kSeals) == 0) Map();
  }
  // Whether a file from another process has the announced size, and is sealed. Otherwise the other process could
  // truncate it, and any access would then end this process.
  static bool Sound(int file, size_t size) {
    struct stat found;
    const int seals = fcntl(file, F_GET_SEALS);
    return seals >= 0 && (seals & kSeals) == kSeals && fstat(file, &found) == 0 && size > 0 &&
           static_cast<size_t>(found.st_size) == size;
  }
  // Maps a region from another process.
  Region(int file, size_t size) : file_(file), size_(size) {
    Map();
    close(file);
  }
  Region(const Region&) = delete;

  int file() const { return file_; }
  // Returns nullptr if the place is outside the region.
  char* At(const Place& place) const {
    return base_ && place.offset <= size_ && place.size <= size_ - place.offset ? base_ + place.offset : nullptr;
  }

 private:
  void Map() {
    void* base = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
    if (base != MAP_FAILED) base_ = static_cast<char*>(base);
  }

  static constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

  const int file_;
  const size_t size_;
  char* base_ = nullptr;
};

}  // namespace ps

#endif  // BYTEPS_GC_REGIONS_H
