// Fuzzing of the socket by which local workers give memory to a server, and of references to that memory.
//
// Whatever is sent: a region is taken only from a process of the same user, whole, sealed and as long as it says, and
// as that worker's next one; no descriptor stays open; a place is in memory that is there, or is refused.
#include "engine.h"

#include <fcntl.h>

#include "byteps_gc_slots.h"

namespace fuzz {
namespace {

using ps::Gift;
using ps::GivenRegions;
using ps::Place;

constexpr int kFiles = 8, kLongest = 8192;
constexpr int kSealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

struct File {
  int descriptor;
  uint64_t size;
  bool sound;
};

int memory(uint64_t size, int seals) {
  const int file = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  require(file >= 0 && ftruncate(file, off_t(size)) == 0, "no memory");
  require(!seals || fcntl(file, F_ADD_SEALS, seals) == 0, "no seals");
  return file;
}

const File& file(int number) {
  static const File files[kFiles] = {{memory(4096, kSealed), 4096, true},
                                     {memory(kLongest, kSealed), kLongest, true},
                                     {memory(100, kSealed), 100, true},
                                     {memory(1ull << 45, kSealed), 1ull << 45, true},  // about all that can be mapped
                                     {memory(4096, 0), 4096, false},
                                     {memory(4096, F_SEAL_SHRINK), 4096, false},
                                     {memory(0, kSealed), 0, false},
                                     {open("/dev/null", O_RDWR | O_CLOEXEC), 0, false}};
  return files[number];
}

// The socket that a server listens on, and one of a giver.
struct Sockets {
  Sockets() : name("byteps_gc-fuzz-" + std::to_string(getpid())), giver(name) {
    given.Listen(name);
    require(connect(giver.fd(), giver.address(), giver.length_) == 0, "cannot connect");
  }
  const std::string name;
  GivenRegions given;
  ps::RegionSocket giver;
};

Sockets& sockets() {
  static Sockets all;
  return all;
}

// Sends a datagram with some descriptors, as `uid`; false if the system does not.
bool send(const std::string& bytes, const std::vector<int>& descriptors, uid_t uid) {
  iovec content{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char room[CMSG_SPACE(4 * sizeof(int)) + CMSG_SPACE(sizeof(ucred))] = {};
  msghdr message{};
  message.msg_iov = &content;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  cmsghdr* control = CMSG_FIRSTHDR(&message);
  size_t used = 0;
  if (!descriptors.empty()) {
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    memcpy(CMSG_DATA(control), descriptors.data(), descriptors.size() * sizeof(int));
    used = CMSG_SPACE(descriptors.size() * sizeof(int));
    control = reinterpret_cast<cmsghdr*>(room + used);
  }
  if (uid != geteuid()) {
    const ucred other{getpid(), uid, getegid()};
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_CREDENTIALS;
    control->cmsg_len = CMSG_LEN(sizeof other);
    memcpy(CMSG_DATA(control), &other, sizeof other);
    used += CMSG_SPACE(sizeof other);
  }
  message.msg_controllen = used;
  if (!used) message.msg_control = nullptr;
  return sendmsg(sockets().giver.fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

int worker_of(uint8_t byte) { return byte < 120 ? 9 : byte < 240 ? 11 : int(kExtremes[byte % 16 + 14]); }

uint64_t number_of(Input* in, uint64_t likely) {
  const uint8_t how = in->byte();
  return how < 128 ? likely : how < 192 ? likely + uint64_t(int64_t(int8_t(in->byte()))) : extreme(in);
}

class Server {
 public:
  Server() : given_(sockets().given) {}
  ~Server() {
    for (auto& giver : given_.givers_) {
      for (ps::Region* region : giver.second.regions) {
        if (region->base_) munmap(region->base_, region->size_);
        delete region;
      }
    }
    given_.givers_.clear();
  }

  void Give(Input* in) {
    const uint8_t how = in->byte();
    const File& first = file(in->byte() % kFiles);
    Gift gift{worker_of(in->byte()), 0, 0};
    const size_t before = Count(gift.worker);
    gift.number = int(number_of(in, before));
    gift.size = number_of(in, first.size);
    std::string bytes(sizeof gift, '\0');
    memcpy(&bytes[0], &gift, sizeof gift);
    if (how % 8 == 1) bytes.resize(in->byte() % 40);
    std::vector<int> descriptors{first.descriptor};
    if (how % 8 == 2) descriptors.clear();
    if (how % 8 == 3) descriptors.resize(2 + how / 8 % 3, file(how / 32).descriptor);
    const uid_t uid = how % 8 == 4 ? geteuid() + 1 : geteuid();
    if (!send(bytes, descriptors, uid)) return;
    given_.Take();
    const bool good = bytes.size() == sizeof gift && descriptors.size() == 1 && uid == geteuid() && first.sound &&
                      gift.size == first.size && gift.number >= 0 && size_t(gift.number) == before;
    const bool taken = Count(gift.worker) > before;
    count(taken);
    require(taken == good, taken ? "a region is taken that must not be" : "a good region is not taken");
  }

  void Push(Input* in) {
    const int worker = worker_of(in->byte());
    const uint64_t key = in->byte() % 4, region = number_of(in, 0), offset = number_of(in, 0);
    const Place place{region, offset, number_of(in, 64)};
    const char* const there = given_.Pushed(worker, key, place);
    count(there);
    const bool known = region < Count(worker);
    const ps::Region* const holder = known ? given_.givers_[worker].regions[region] : nullptr;
    const bool inside = holder && holder->base_ && offset <= holder->size_ && place.size <= holder->size_ - offset;
    require((there != nullptr) == inside, inside ? "a good place is refused" : "a place that is not there");
    if (!there || !place.size) return;
    static volatile char read;
    read = there[0];
    read = there[place.size - 1];
  }

  void Answer(Input* in) {
    static char values[kLongest];
    const int worker = worker_of(in->byte());
    Place place{};
    given_.Answer(worker, in->byte() % 4, values, std::min<uint64_t>(kLongest, number_of(in, 64)), &place);
  }

 private:
  size_t Count(int worker) {
    auto found = given_.givers_.find(worker);
    return found == given_.givers_.end() ? 0 : found->second.regions.size();
  }

  GivenRegions& given_;
};

// The descriptor that the next file gets.
int lowest() {
  const int next = dup(0);
  close(next);
  return next;
}

}  // namespace

void attack_regions(Input* in) {
  sockets();
  file(0);
  const int before = lowest();
  Server server;
  while (in->left()) {
    const uint8_t what = in->byte() % 8;
    what < 4 ? server.Give(in) : what < 6 ? server.Push(in) : server.Answer(in);
  }
  require(lowest() == before, "a descriptor is left open");
}

}  // namespace fuzz
