// ps-lite's transport over ZeroMQ (byteps_gc's own implementation of the interface that the released one has).
//
// A node has one socket that it is called at, and one to each node that it calls. Whoever sends does so
// itself; one thread, that of Van::Receiving, receives from all sockets and sleeps when nothing is there.
// A message is [sender's name] [meta] [data...]; one with an empty meta is between the vans (liveness.h). Of
// [keys] [values] [lengths] the values may be in a slot, and their [place] comes last (slots.h).
#ifndef PS_ZMQ_VAN_H_
#define PS_ZMQ_VAN_H_

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <unordered_map>

#include "./byteps_gc_liveness.h"
#include "./byteps_gc_slots.h"
#include "./byteps_gc_zmq_socket.h"
#include "ps/internal/van.h"

namespace ps {

class ZMQVan : public Van {
 public:
  ZMQVan() {}
  ~ZMQVan() override {}

  std::string GetType() const override { return "zeromq"; }

  void Start(int customer_id, bool standalone) override {
    {
      std::lock_guard<std::mutex> guard(start_mu_);
      if (!context_) {
        KeepBuffers();
        context_ = CHECK_NOTNULL(zmq_ctx_new());
        zmq_ctx_set(context_, ZMQ_MAX_SOCKETS, GetEnv("BYTEPS_ZMQ_MAX_SOCKET", 1024));
        zmq_ctx_set(context_, ZMQ_IO_THREADS, GetEnv("BYTEPS_ZMQ_NTHREADS", 4));
      }
    }
    if (!standalone) Van::Start(customer_id, false);
  }

  void Stop() override {
    liveness_.End();
    Van::Stop();
    {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      receiver_.reset();
      senders_.clear();
      ++version_;
    }
    readable_.clear();
    zmq_ctx_destroy(context_);  // waits until what was sent is delivered
    context_ = nullptr;
  }

  int Bind(const Node& node, int max_retry) override {
    const bool local = GetEnv("DMLC_LOCAL", 0);
    is_worker_ = node.role == Node::WORKER;
    receiver_ = std::make_shared<Socket>(context_, ZMQ_ROUTER);
    receiver_->Set(ZMQ_ROUTER_MANDATORY, 1);
    std::string host = node.hostname.empty() ? "*" : node.hostname;
    if (node.role == Node::SCHEDULER && GetEnv("DMLC_USE_KUBERNETES", 0) > 0) host = "0.0.0.0";
    const std::string prefix = local ? "ipc:///tmp/" : "tcp://" + host + ":";
    unsigned seed = static_cast<unsigned>(getpid() + time(nullptr));
    int port = node.port;
    for (int tries = 0; zmq_bind(receiver_->handle(), (prefix + std::to_string(port)).c_str()) != 0; ++tries) {
      if (tries >= max_retry) {
        std::cerr << "byteps: cannot listen on " << prefix << port << ": " << zmq_strerror(errno) << std::endl;
        _exit(98);
      }
      port = 10000 + rand_r(&seed) % 40000;
    }
    if (!local) {
      receiver_->Set(ZMQ_SNDBUF, kInside);
      const std::string inside = Inside(node.hostname, port);
      CHECK_EQ(zmq_bind(receiver_->handle(), ("ipc://@" + inside).c_str()), 0) << zmq_strerror(errno);
      if (node.role == Node::SERVER) given_.Listen(inside + "-regions");
    }
    Publish();
    Node here = node;
    here.port = port;
    liveness_.Start(here, scheduler_, [this](const std::string& text) { CallScheduler(text); });
    return port;
  }

  void Connect(const Node& node) override {
    CHECK_NE(node.id, node.kEmpty);
    CHECK_NE(node.port, node.kEmpty);
    CHECK(node.hostname.size());
    // workers do not talk to workers, nor servers to servers
    if (node.role == my_node_.role && node.id != my_node_.id) return;
    auto sender = std::make_shared<Socket>(context_, ZMQ_DEALER);
    if (my_node_.id != Node::kEmpty) sender->SetName(Name(my_node_.id));
    std::string address = "tcp://" + node.hostname + ":" + std::to_string(node.port);
    if (node.hostname == my_node_.hostname) {
      const std::string inside = Inside(node.hostname, node.port);
      address = "ipc://@" + inside;
      sender->Set(ZMQ_SNDBUF, kInside);
      if (is_worker_ && node.role == Node::SERVER) slots_.Meet(node.id, inside + "-regions", my_node_.id);
    }
    if (GetEnv("DMLC_LOCAL", 0)) address = "ipc:///tmp/" + std::to_string(node.port);
    if (is_worker_ && node.role == Node::SERVER && address.compare(0, 4, "tcp:") == 0) liveness_.Reach(node);
    CHECK_EQ(zmq_connect(sender->handle(), address.c_str()), 0) << "cannot connect to " << address << ": " << zmq_strerror(errno);
    {
      std::lock_guard<std::mutex> guard(sockets_mu_);
      senders_[node.id] = sender;
    }
    Publish();
    // the nodes hear of each other when all have arrived
    if (node.role != Node::SCHEDULER) {
      liveness_.Begin();
    } else if (my_node_.role != Node::SCHEDULER) {
      CallScheduler(liveness_.Hello());
    }
  }

  int SendMsg(Message& msg) override {
    const int id = msg.meta.recver;
    CHECK_NE(id, Meta::kEmpty);
    // a worker's request is answered on the connection that it came by
    const bool reply = !is_worker_ && !msg.meta.simple_app && msg.meta.control.empty() && id >= 8 && id % 2;
    auto socket = reply ? receiver_ : Sender(id);
    CHECK(socket) << "no connection to node " << id;
    std::vector<Part> parts;
    parts.reserve(msg.data.size() + 3);
    if (reply) {
      parts.emplace_back(Name(id));
      parts.emplace_back(Name(my_node_.id));
    }
    int size = GetPackMetaLen(msg.meta);
    parts.emplace_back(nullptr, size);
    char* meta = parts.back().data();
    PackMeta(msg.meta, &meta, &size);
    Place place;
    const bool placed = ToSlot(msg, reply, &place);
    for (auto& data : msg.data) {
      size += data.size();
      parts.push_back(placed && &data == &msg.data[kValues] ? Part() : Pack(data));
    }
    if (placed) parts.emplace_back(&place, sizeof place);
    // a peer that is not there any more is liveness's to report
    socket->Send(&parts, socket == receiver_ || is_worker_ ? &alarm_ : nullptr);
    return size;
  }

  int RecvMsg(Message* msg) override {
    msg->data.clear();
    std::vector<Part> parts;
    while (true) {
      Receive(&parts);
      if (parts.size() == 3 && parts[1].size() == 0) {
        liveness_.Heard(parts[2].text());
      } else if (parts.size() >= 2) {
        return Unpack(&parts, msg);
      }
    }
  }

 private:
  static constexpr size_t kCopied = 512;   // bytes up to which a copy is cheaper than keeping count of owners
  static constexpr size_t kKeys = 0, kValues = 1, kWithLengths = 3;  // of the data of a message
  static constexpr int kSafetyNet = 1000;  // milliseconds after which a waiting thread looks without being called
  static constexpr int kInside = 4 << 20;  // bytes that a local connection holds, if the system allows it that many
  static constexpr int kAtOnce = 64;       // messages of one socket before the others are looked at

  // Buffers of messages come and go with every step: given back to the system, they would be cleared again page by
  // page whenever data comes. Who sets MALLOC_TRIM_THRESHOLD_ decides otherwise.
  static void KeepBuffers() {
    if (getenv("MALLOC_TRIM_THRESHOLD_")) return;
    mallopt(M_MMAP_THRESHOLD, 32 << 20);  // more than any partition, and the most that glibc takes
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
  }

  // Where processes of the same host call a node: a local socket without a file, which takes less than TCP does.
  static std::string Inside(const std::string& host, int port) {
    return "byteps_gc-" + host + "-" + std::to_string(port);
  }

  static uint64_t KeyOf(SArray<char>& keys) {
    uint64_t key = 0;
    memcpy(&key, keys.data(), std::min(keys.size(), sizeof key));
    return key;
  }

  // Puts a message's values to a slot, if there is one for them.
  bool ToSlot(Message& msg, bool reply, Place* place) {
    if (msg.data.size() != kWithLengths || msg.data[kValues].size() < placed_) return false;
    auto& values = msg.data[kValues];
    const uint64_t key = KeyOf(msg.data[kKeys]);
    if (reply) return given_.Answer(msg.meta.recver, key, values.data(), values.size(), place);
    return is_worker_ && slots_.Put(msg.meta.recver, key, values.data(), values.size(), place);
  }

  // A message's values that are in a slot.
  SArray<char> FromSlot(Message& msg, const Place& place) {
    const int sender = msg.meta.sender;
    char* data = is_worker_ ? slots_.At(sender, place) : given_.Pushed(sender, KeyOf(msg.data[kKeys]), place);
    CHECK(data) << "node " << sender << " sent a reference to unknown shared memory";
    return SArray<char>(data, place.size, false);
  }

  static std::string Name(int id) { return "ps" + std::to_string(id); }

  static int IdOf(const std::string& name) {
    if (name.size() < 3 || name.compare(0, 2, "ps") != 0) return Meta::kEmpty;
    for (size_t i = 2; i < name.size(); ++i) {
      if (name[i] < '0' || name[i] > '9') return Meta::kEmpty;
    }
    return atoi(name.c_str() + 2);
  }

  static Part Pack(SArray<char>& data) {
    if (data.size() <= kCopied) return Part(data.data(), data.size());
    auto* owner = new SArray<char>(data);
    return Part(owner->data(), owner->size(), [](void*, void* hint) { delete static_cast<SArray<char>*>(hint); }, owner);
  }

  int Unpack(std::vector<Part>* parts, Message* msg) {
    msg->meta.sender = IdOf((*parts)[0].text());
    msg->meta.recver = my_node_.id;
    size_t size = (*parts)[1].size();
    UnpackMeta((*parts)[1].data(), size, &msg->meta);
    for (size_t i = 2; i < parts->size(); ++i) {
      char* data = (*parts)[i].data();
      const size_t bytes = (*parts)[i].size();
      zmq_msg_t* whole = (*parts)[i].release();
      SArray<char> array;
      array.reset(data, bytes, [whole](void*) { Part::Close(whole); });
      msg->data.push_back(array);
      size += bytes;
    }
    if (msg->data.size() > kWithLengths) {
      Place place;
      CHECK_EQ(msg->data.back().size(), sizeof place);
      memcpy(&place, msg->data.back().data(), sizeof place);
      msg->data.pop_back();
      msg->data[kValues] = FromSlot(*msg, place);
      size += place.size - sizeof place;
    }
    return static_cast<int>(size);
  }

  std::shared_ptr<Socket> Sender(int id) {
    std::lock_guard<std::mutex> guard(sockets_mu_);
    auto found = senders_.find(id);
    return found == senders_.end() ? nullptr : found->second;
  }

  // A word to the scheduler's van.
  void CallScheduler(const std::string& text) {
    auto socket = Sender(scheduler_.id);
    if (!socket) return;
    std::vector<Part> parts(1);
    parts.emplace_back(text);
    socket->Send(&parts, is_worker_ ? &alarm_ : nullptr);
  }

  // Lets the receiving thread know that there are other sockets now.
  void Publish() {
    ++version_;
    alarm_.Raise();
  }

  void Adopt() {
    std::lock_guard<std::mutex> guard(sockets_mu_);
    seen_ = version_;
    readable_.assign(1, receiver_);
    // only a worker gets answers from those that it calls
    for (auto& sender : senders_) {
      if (is_worker_) readable_.push_back(sender.second);
    }
    news_.assign(1, pollfd{alarm_.fd(), POLLIN, 0});
    for (auto& socket : readable_) news_.push_back(pollfd{socket->fd(), POLLIN, 0});
    news_.push_back(pollfd{given_.fd(), POLLIN, 0});  // of a worker -1, which poll() leaves out
  }

  void Receive(std::vector<Part>* parts) {
    while (true) {
      if (seen_ != version_) Adopt();
      for (size_t tried = 0; tried <= readable_.size(); ++tried) {  // the first one twice, if its turn was over
        if (taken_ < kAtOnce && readable_[turn_ % readable_.size()]->Receive(parts)) {
          ++taken_;
          return;
        }
        taken_ = 0;
        ++turn_;
      }
      // every socket has been looked at since its last news
      Await(&news_, kSafetyNet);
      if (news_[0].revents) alarm_.Reset();
      if (news_.back().revents) given_.Take();
    }
  }

  void* context_ = nullptr;
  bool is_worker_ = false;
  Liveness liveness_;
  Alarm alarm_;
  const size_t placed_ = GetEnv("BYTEPS_GC_SLOT_BYTES", 32 << 10);  // from which a slot is cheaper than a socket
  Slots slots_;                                                    // a worker's
  GivenRegions given_;                                             // a server's
  std::shared_ptr<Socket> receiver_;

  std::mutex sockets_mu_;  // of senders_
  std::unordered_map<int, std::shared_ptr<Socket>> senders_;
  std::atomic<int> version_{0};

  // the receiving thread's
  int seen_ = -1;
  std::vector<std::shared_ptr<Socket>> readable_;
  std::vector<pollfd> news_;
  size_t turn_ = 0;
  int taken_ = 0;
};

}  // namespace ps

#endif  // PS_ZMQ_VAN_H_
