// Exchange of values between a worker and a server of its host through shared memory instead of a socket.
//
// A worker has a slot for each key that it pushes. It writes the values to the slot and sends a message with their
// place; the reply comes back in the same slot. A worker pushes a key again only after the reply, and the server
// replies only when it does not need the pushed values any more, so a slot belongs to one side at a time. Slots are in
// shared regions (regions.h).
#ifndef BYTEPS_GC_SLOTS_H
#define BYTEPS_GC_SLOTS_H

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "./byteps_gc_regions.h"
#include "ps/base.h"

namespace ps {

// A worker's slots.
class Slots {
 public:
  // Adds a server of this host, which receives regions at the address `name`.
  void Meet(int server, const std::string& name, int worker) {
    std::lock_guard<std::mutex> guard(mu_);
    auto& peer = peers_[server] = Peer();  // an earlier server with this number had other regions
    peer.name = name;
    peer.worker = worker;
  }

  // Copies values to the slot of a key; returns false if there is no slot of this size.
  bool Put(int server, uint64_t key, const char* data, size_t size, Place* place) {
    char* there;
    {
      std::lock_guard<std::mutex> guard(mu_);
      auto peer = peers_.find(server);
      if (peer == peers_.end()) return false;
      Place& slot = peer->second.slots[key];
      // the size of compressed values varies
      if (slot.size < size && !peer->second.Allocate(std::max(size, 2 * slot.size), &slot)) return false;
      *place = {slot.region, slot.offset, size};
      there = peer->second.regions[slot.region]->At(*place);
    }
    memcpy(there, data, size);
    return true;
  }

  // The values of a server's reply; nullptr if there is no such place.
  char* At(int server, const Place& place) {
    std::lock_guard<std::mutex> guard(mu_);
    auto peer = peers_.find(server);
    if (peer == peers_.end() || place.region >= peer->second.regions.size()) return nullptr;
    return peer->second.regions[place.region]->At(place);
  }

 private:
  static constexpr size_t kRegion = 64 << 20;
  static constexpr size_t kAligned = 4096;

  struct Peer {
    std::string name;
    int worker = 0;
    std::vector<Region*> regions;
    size_t used = 0, room = 0;  // of the last region
    bool refused = false;
    std::unordered_map<uint64_t, Place> slots;  // by key

    bool Allocate(size_t size, Place* slot) {
      size = (size + kAligned - 1) / kAligned * kAligned;
      if (room - used < size) {
        if (refused) return false;
        const size_t wanted = std::max(size, size_t{kRegion});
        auto* region = new Region(wanted);
        const Gift gift{worker, static_cast<int>(regions.size()), wanted};
        refused = !region->At({}) || !RegionSocket(name).Give(region->file(), gift);
        if (refused) return false;
        regions.push_back(region);
        used = 0;
        room = wanted;
      }
      *slot = {regions.size() - 1, used, size};
      used += size;
      return true;
    }
  };

  std::mutex mu_;
  std::unordered_map<int, Peer> peers_;  // by server
};

// The regions that workers have passed to a server, and the places of each worker's keys.
class GivenRegions {
 public:
  void Listen(const std::string& name) {
    socket_.reset(new RegionSocket(name));
    CHECK(socket_->Listen()) << "cannot listen on " << name << ": " << strerror(errno);
  }
  int fd() const { return socket_ ? socket_->fd() : -1; }

  // Takes all regions that have arrived. A region never replaces an earlier one of its worker. Invalid regions are
  // ignored, so references to them are invalid, too.
  void Take() {
    Gift gift;
    for (int file; socket_ && socket_->Take(&gift, &file);) {
      if (file < 0) continue;
      std::lock_guard<std::mutex> guard(mu_);
      auto& giver = givers_[gift.worker];
      const bool next = gift.number >= 0 && giver.regions.size() == static_cast<size_t>(gift.number);
      if (!next || !Region::Sound(file, gift.size)) {
        close(file);
        continue;
      }
      giver.regions.push_back(new Region(file, gift.size));
    }
  }

  // The values of a push; nullptr if there is no such place. The reply goes to the same place.
  char* Pushed(int worker, uint64_t key, const Place& place) {
    std::unique_lock<std::mutex> guard(mu_);
    auto& giver = givers_[worker];
    if (place.region >= giver.regions.size()) {
      guard.unlock();
      Take();
      guard.lock();
    }
    if (place.region >= giver.regions.size()) return nullptr;
    char* there = giver.regions[place.region]->At(place);
    if (there) giver.places[key] = place;
    return there;
  }

  // Copies a reply to the place of the push; returns false if there is none of this size.
  bool Answer(int worker, uint64_t key, const char* data, size_t size, Place* place) {
    char* there;
    {
      std::lock_guard<std::mutex> guard(mu_);
      auto& giver = givers_[worker];
      auto found = giver.places.find(key);
      if (found == giver.places.end() || found->second.size < size) return false;
      *place = {found->second.region, found->second.offset, size};
      there = giver.regions[place->region]->At(*place);
    }
    memcpy(there, data, size);
    return true;
  }

 private:
  struct Giver {
    std::vector<Region*> regions;
    std::unordered_map<uint64_t, Place> places;  // by key
  };

  std::unique_ptr<RegionSocket> socket_;
  std::mutex mu_;
  std::unordered_map<int, Giver> givers_;  // by worker
};

}  // namespace ps

#endif  // BYTEPS_GC_SLOTS_H
