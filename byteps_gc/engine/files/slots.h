// What a worker exchanges with a server of its host: through memory that both see, instead of a socket.
//
// A worker has one region with a slot for each key that it pushes. The bytes go into the slot, a message says where
// they are, and the answer comes back in the same slot. A worker pushes a key again only when it has the answer, and
// the server answers when it has no more use for what was pushed: so a slot belongs to one side at a time. The
// region is a file without a name, which the server is given once (SCM_RIGHTS); it ends with the last process that
// has it.
#ifndef BYTEPS_GC_SLOTS_H
#define BYTEPS_GC_SLOTS_H

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>
#include <unordered_map>

#include "ps/base.h"

namespace ps {

// Where in a region the bytes of a message are; what the message holds in their place.
struct Place {
  uint64_t offset;
  uint64_t size;
};

// A datagram socket with a name that is no file's.
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
  bool Listen() { return bind(fd_, address(), length_) == 0; }

  // Gives `region`, of node `id`, to whoever listens; false if nobody has taken it within some seconds.
  bool Give(int region, int id) {
    const timeval patience{5, 0};
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    Envelope envelope(&id);
    envelope.message.msg_name = &address_;
    envelope.message.msg_namelen = length_;
    cmsghdr* control = CMSG_FIRSTHDR(&envelope.message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof region);
    memcpy(CMSG_DATA(control), &region, sizeof region);
    return sendmsg(fd_, &envelope.message, MSG_NOSIGNAL) == sizeof id;
  }

  // The next region that was given, and whose it is; -1 if there is none.
  int Take(int* id) {
    Envelope envelope(id);
    if (recvmsg(fd_, &envelope.message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof *id) return -1;
    cmsghdr* control = CMSG_FIRSTHDR(&envelope.message);
    int region = -1;
    if (control && control->cmsg_type == SCM_RIGHTS) memcpy(&region, CMSG_DATA(control), sizeof region);
    return region;
  }

 private:
  struct Envelope {
    explicit Envelope(int* id) : content{id, sizeof *id} {
      message.msg_iov = &content;
      message.msg_iovlen = 1;
      message.msg_control = room;
      message.msg_controllen = sizeof room;
    }
    iovec content;
    msghdr message{};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
  };

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }

  const int fd_;
  sockaddr_un address_{};
  socklen_t length_;
};

// The memory itself, which is mapped until the process ends: a message may still point there.
class Region {
 public:
  static constexpr size_t kReserved = size_t{64} << 30;  // addresses; memory is taken when it is written to

  // A new one, or one that another process has given.
  Region() : fd_(memfd_create("byteps_gc", MFD_CLOEXEC)) {
    if (fd_ >= 0 && ftruncate(fd_, kReserved) == 0) Map();
  }
  explicit Region(int fd) : fd_(fd) { Map(); }
  Region(const Region&) = delete;

  int fd() const { return fd_; }
  // nullptr if it is not there
  char* At(const Place& place) const {
    const bool inside = place.offset <= kReserved && place.size <= kReserved - place.offset;
    return base_ && inside ? base_ + place.offset : nullptr;
  }

 private:
  void Map() {
    void* base = mmap(nullptr, kReserved, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0);
    if (base != MAP_FAILED) base_ = static_cast<char*>(base);
  }

  const int fd_;
  char* base_ = nullptr;
};

// A worker's region, and its slots.
class Slots {
 public:
  // Gives the region to the server that listens at `name`; from then on its messages may use slots.
  void Share(const std::string& name, int server, int id) {
    std::lock_guard<std::mutex> guard(mu_);
    if (!region_) region_ = new Region();
    shared_[server] = region_->At({0, 0}) && RegionSocket(name).Give(region_->fd(), id);
  }

  // Copies to the slot of a key; false if there is none for so much, or the server does not have the region.
  bool Put(int server, uint64_t key, const char* data, size_t size, Place* place) {
    {
      std::lock_guard<std::mutex> guard(mu_);
      auto shared = shared_.find(server);
      if (shared == shared_.end() || !shared->second) return false;
      Place& slot = slots_[key];
      if (slot.size < size) {
        const size_t room = (size + kPage - 1) / kPage * kPage;
        if (room > Region::kReserved - used_) return false;
        slot = {used_, room};
        used_ += room;
      }
      *place = {slot.offset, size};
    }
    memcpy(region_->At(*place), data, size);
    return true;
  }

  char* At(const Place& place) { return region_ ? region_->At(place) : nullptr; }

 private:
  static constexpr size_t kPage = 4096;

  std::mutex mu_;
  Region* region_ = nullptr;
  std::unordered_map<int, bool> shared_;      // by server
  std::unordered_map<uint64_t, Place> slots_;  // by key
  size_t used_ = 0;
};

// The regions that a server has been given, and where each worker's keys are.
class GivenRegions {
 public:
  void Listen(const std::string& name) {
    socket_.reset(new RegionSocket(name));
    CHECK(socket_->Listen()) << name << ": " << strerror(errno);
  }
  int fd() const { return socket_ ? socket_->fd() : -1; }

  // Takes all that have been given by now.
  void Take() {
    int id = 0;
    for (int fd; socket_ && (fd = socket_->Take(&id)) >= 0;) {
      std::lock_guard<std::mutex> guard(mu_);
      regions_[id] = new Region(fd);
    }
  }

  // What a worker has pushed, or nullptr; its answer goes to the same place.
  char* Pushed(int worker, uint64_t key, const Place& place) {
    for (int tried = 0; tried < 2; ++tried) {
      {
        std::lock_guard<std::mutex> guard(mu_);
        auto region = regions_.find(worker);
        if (region != regions_.end()) {
          places_[worker][key] = place;
          return region->second->At(place);
        }
      }
      Take();
    }
    return nullptr;
  }

  // Copies an answer to where the key was pushed from; false if that was not a place for so much.
  bool Answer(int worker, uint64_t key, const char* data, size_t size, Place* place) {
    char* there;
    {
      std::lock_guard<std::mutex> guard(mu_);
      auto& places = places_[worker];
      auto found = places.find(key);
      if (found == places.end() || found->second.size < size) return false;
      *place = {found->second.offset, size};
      there = regions_[worker]->At(*place);
    }
    memcpy(there, data, size);
    return true;
  }

 private:
  std::unique_ptr<RegionSocket> socket_;
  std::mutex mu_;
  std::unordered_map<int, Region*> regions_;                                // by worker
  std::unordered_map<int, std::unordered_map<uint64_t, Place>> places_;  // by worker and key
};

}  // namespace ps

#endif  // BYTEPS_GC_SLOTS_H
