// ps-lite's transport over ZeroMQ (byteps_gc's own implementation of the interface of ps-lite's ZMQVan).
//
// Workers and servers connect to the scheduler, and workers to servers: by TCP, or by a local socket if both processes
// belong to one user on one host. Messages in the other direction use the same connections. Every thread sends its
// messages itself; one thread, that of Van::Receiving, receives from all sockets (receiver.h). Connections are
// authenticated and encrypted if the job has a secret (secret.h).
//
// A message is [sender's name] [header] [data...] (wire.h). Its data are [keys] [values] [lengths]. If the values are
// in a slot, their [place] comes last (slots.h). A message with an empty header is a text for liveness (liveness.h).
//
// Messages that their sender may not send, or whose lengths are wrong, are dropped (message_filter.h). A worker keeps
// every request until its reply arrives (pending_requests.h), and sends it again if the connection was lost. A server
// replies to a repeated request, and counts it once.
#ifndef PS_ZMQ_VAN_H_
#define PS_ZMQ_VAN_H_

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "./byteps_gc_connections.h"
#include "./byteps_gc_exit.h"
#include "./byteps_gc_liveness.h"
#include "./byteps_gc_message_filter.h"
#include "./byteps_gc_pending_requests.h"
#include "./byteps_gc_receiver.h"
#include "./byteps_gc_secret.h"
#include "./byteps_gc_slots.h"
#include "./byteps_gc_wire.h"
#include "./byteps_gc_zmq_endpoint.h"
#include "./byteps_gc_zmq_socket.h"
#include "ps/byteps_gc_name.h"
#include "ps/internal/postoffice.h"
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
    Running() = this;
    if (!standalone) Van::Start(customer_id, false);
  }

  void Stop() override {
    Running() = nullptr;
    liveness_.End();
    Van::Stop();
    connections_.Clear();
    receiver_.Clear();
    pending_.Clear();
    filter_.Reset();
    authenticator_.reset();
    if (port_fd_ >= 0) close(port_fd_);
    port_fd_ = -1;
    zmq_ctx_destroy(context_);  // returns when all messages have been delivered
    context_ = nullptr;
  }

  int Bind(const Node& node, int max_retry) override {
    is_worker_ = node.role == Node::WORKER;
    my_node_.aux_id = static_cast<int>(geteuid());
    const int port = is_worker_ ? ReservePort(node, max_retry, &port_fd_) : Listen(node, max_retry);
    Node here = node;
    here.port = port;
    liveness_.Start(here, scheduler_, [this](const std::string& to, const std::string& text) { Say(to, text); });
    return port;
  }

  void Connect(const Node& node) override {
    CHECK_NE(node.id, node.kEmpty);
    CHECK_NE(node.port, node.kEmpty);
    CHECK(node.hostname.size());
    if (node.role != Node::SCHEDULER) liveness_.Begin();  // nodes learn of each other when all have arrived
    if (my_node_.role == Node::SCHEDULER) return Connected(node);
    receiver_.SetAddress(node.id, AddressOf(node));
    if (node.role == Node::SCHEDULER && connections_.To(kScheduler)) return;
    if (node.role != Node::SCHEDULER && (!is_worker_ || node.role == Node::WORKER)) return;
    auto sender = std::make_shared<Socket>(context_, ZMQ_DEALER);
    const std::string address = Prepare(node, sender.get());
    LimitMessages(sender.get());
    auto events = std::make_shared<Events>(context_, sender.get(), int{Receiver::kEvents});
    CHECK_EQ(zmq_connect(sender->handle(), address.c_str()), 0)
        << "cannot connect to " << address << ": " << zmq_strerror(errno);
    if (node.role == Node::SCHEDULER) {  // the first text, so before other threads find the sender
      std::vector<Part> hello(1);
      hello.emplace_back(liveness_.Hello());
      sender->Send(&hello, &alarm_);
    }
    connections_.Add(node.id, sender, events);
  }

  int SendMsg(Message& msg) override {
    const int id = msg.meta.recver;
    CHECK_NE(id, Meta::kEmpty);
    if (id == my_node_.id || msg.meta.control.cmd == Control::TERMINATE) return SendToSelf(msg);
    if (!is_worker_ && id != kScheduler) return Transmit(msg, connections_.Back(id), kCopied);
    if (is_worker_ && msg.meta.control.empty()) pending_.Add(msg);
    return Transmit(msg, Route{connections_.To(id), ""}, kCopied);
  }

  // Ends the job for a reason that this process has found.
  [[noreturn]] static void Abort(const std::string& why, int status) {
    if (ZMQVan* van = Running()) van->liveness_.Abort(why, status);
    Exit(why, status);
  }

  int RecvMsg(Message* msg) override {
    std::vector<Part> parts;
    while (true) {
      *msg = Message();
      if (TakeOwn(msg)) return 1;
      const Source* source = receiver_.Receive(&parts);
      if (!source) continue;
      bool done = false;
      const char* wrong = filter_.Open(&parts, source->node, msg, &done);
      if (wrong) {
        filter_.Report(&parts, wrong);
      } else if (!done) {
        if (source->node == Meta::kEmpty) Note(*msg, source->socket);
        int size = static_cast<int>(wire::Size(msg->meta));
        for (auto& data : msg->data) size += static_cast<int>(data.size());
        return size;
      }
    }
  }

 private:
  static constexpr size_t kCopied = 512;   // bytes up to which a copy takes less time than reference counting
  static constexpr int kLocal = 4 << 20;   // send buffer of a local socket in bytes, if the system allows that
  static constexpr int kWaiting = 1000;    // received messages of a connection that are queued; more have to wait
  static constexpr int kFarewell = 200;    // milliseconds in which the last "bye" is delivered to the scheduler

  // The van of this process, while it runs.
  static std::atomic<ZMQVan*>& Running() {
    static std::atomic<ZMQVan*> van{nullptr};
    return van;
  }

  // Keeps freed message buffers in the process: the system would clear returned memory page by page whenever data
  // arrive. Has no effect if the user has set MALLOC_TRIM_THRESHOLD_.
  static void KeepBuffers() {
    if (getenv("MALLOC_TRIM_THRESHOLD_")) return;
    mallopt(M_MMAP_THRESHOLD, 32 << 20);  // more than any partition, and glibc's maximum
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
  }

  // Sets the options of a socket before it connects to a node; returns the address.
  std::string Prepare(const Node& node, Socket* sender) {
    const std::string tcp = "tcp://" + AddressOf(node);
    if (node.role == Node::SCHEDULER) {
      Secret::Get().Identify(sender);
      sender->SetPatience(kFarewell);
      return tcp;
    }
    sender->Set(ZMQ_ROUTING_ID, ConnectionName(my_node_.id));
    if (node.hostname == my_node_.hostname && node.aux_id == my_node_.aux_id) {
      const std::string local = LocalName(node);
      sender->Set(ZMQ_SNDBUF, kLocal);
      slots_.Meet(node.id, local + "-regions", my_node_.id);
      return "ipc://@" + local;
    }
    liveness_.Reach(node);
    Secret::Get().Identify(sender, wire::Token(node));
    LimitSilence(sender, liveness_.limit());
    return tcp;
  }

  // Opens the listener of a scheduler or server, and a server's local socket; returns the port.
  int Listen(const Node& node, int max_retry) {
    const bool token = node.role == Node::SERVER && Secret::Get().exists() && !Secret::Get().encrypts();
    if (token) wire::SetToken(Secret::Token(), &my_node_);
    authenticator_.reset(new Authenticator(context_, token ? wire::Token(my_node_) : ""));
    auto listener = NewListener();
    Secret::Get().Guard(listener.get(), token ? wire::Token(my_node_) : "");
    if (node.role == Node::SCHEDULER) listener->Set(ZMQ_ROUTER_NOTIFY, ZMQ_NOTIFY_DISCONNECT);
    std::string host = node.hostname.empty() ? "*" : node.hostname;
    if (node.role == Node::SCHEDULER && GetEnv("DMLC_USE_KUBERNETES", 0) > 0) host = "0.0.0.0";
    Node here = node;
    here.port = FindPort(node, max_retry, [&](int port) {
      return zmq_bind(listener->handle(), ("tcp://" + host + ":" + std::to_string(port)).c_str()) == 0;
    });
    connections_.AddListener(listener);
    if (node.role == Node::SERVER) {
      auto local = NewListener();
      local->Set(ZMQ_IPC_FILTER_UID, my_node_.aux_id);
      local->Set(ZMQ_SNDBUF, kLocal);
      CHECK_EQ(zmq_bind(local->handle(), ("ipc://@" + LocalName(here)).c_str()), 0) << zmq_strerror(errno);
      connections_.AddListener(local);
      given_.Listen(LocalName(here) + "-regions");
    }
    authenticator_->Start();
    return here.port;
  }

  std::shared_ptr<Socket> NewListener() {
    auto listener = std::make_shared<Socket>(context_, ZMQ_ROUTER);
    listener->Set(ZMQ_ROUTER_MANDATORY, 1);
    listener->Set(ZMQ_ROUTER_HANDOVER, 1);  // a node's new connection replaces its last one
    listener->Set(ZMQ_RCVHWM, kWaiting);
    LimitMessages(listener.get());
    authenticator_->Watch(listener.get());
    return listener;
  }

  // On the scheduler: a node has an id from now on.
  void Connected(const Node& node) {
    const std::string* connection = filter_.SetId(node);
    if (connection) connections_.SetBack(node.id, connections_.Listener(), *connection);
  }

  // Copies a message's values to a slot, if there is one for them.
  bool ToSlot(Message& msg, bool reply, Place* place) {
    if (msg.data.size() != kWithLengths || msg.data[kValues].size() < placed_) return false;
    auto& values = msg.data[kValues];
    const uint64_t key = KeyOf(msg.data[kKeys]);
    if (reply) return given_.Answer(msg.meta.recver, key, values.data(), values.size(), place);
    return is_worker_ && slots_.Put(msg.meta.recver, key, values.data(), values.size(), place);
  }

  int SendToSelf(const Message& msg) {
    {
      std::lock_guard<std::mutex> guard(own_mu_);
      own_.push_back(msg);
      own_.back().meta.sender = my_node_.id;
    }
    alarm_.Raise();
    return 1;
  }

  bool TakeOwn(Message* msg) {
    std::lock_guard<std::mutex> guard(own_mu_);
    if (own_.empty()) return false;
    *msg = own_.front();
    own_.pop_front();
    return true;
  }

  // copied: data are copied up to this number of bytes; longer data must remain valid until they have been sent.
  int Transmit(Message& msg, const Route& route, size_t copied) {
    CHECK(route.socket) << "no connection to node " << msg.meta.recver;
    const bool reply = !route.name.empty();
    std::vector<Part> parts;
    parts.reserve(msg.data.size() + 4);
    if (reply) {
      parts.emplace_back(route.name);
      parts.emplace_back(ConnectionName(my_node_.id));
    }
    int size = static_cast<int>(wire::Size(msg.meta));
    parts.emplace_back(nullptr, size);
    wire::Write(msg.meta, parts.back().data());
    Place place;
    const bool placed = ToSlot(msg, reply, &place);
    for (auto& data : msg.data) {
      size += static_cast<int>(data.size());
      parts.push_back(placed && &data == &msg.data[kValues] ? Part() : Pack(data, copied));
    }
    if (placed) parts.emplace_back(&place, sizeof place);
    // liveness reports a peer that has gone
    route.socket->Send(&parts, &alarm_);
    return size;
  }

  static Part Pack(SArray<char>& data, size_t copied) {
    if (data.size() <= copied) return Part(data.data(), data.size());
    auto* owner = new SArray<char>(data);
    const auto release = [](void*, void* hint) { delete static_cast<SArray<char>*>(hint); };
    return Part(owner->data(), owner->size(), release, owner);
  }

  // Sends a text of liveness: to the scheduler, or, from there, on a connection.
  void Say(const std::string& to, const std::string& text) {
    const bool scheduler = my_node_.role == Node::SCHEDULER;
    const auto socket = scheduler ? connections_.Listener() : connections_.To(kScheduler);
    if (!socket) return;
    std::vector<Part> parts;
    if (scheduler) {
      parts.emplace_back(to);
      parts.emplace_back(ConnectionName(kScheduler));
    }
    parts.emplace_back();
    parts.emplace_back(text);
    socket->Send(&parts, &alarm_);
  }

  // Sends the pending requests to a server again: its connection was lost, perhaps with messages in it.
  void AskAgain(int server) {
    auto pending = pending_.Of(server);
    const Route route{connections_.To(server), ""};
    for (auto& request : pending) Transmit(request.second, route, SIZE_MAX);
  }

  // On a server: records the connection of a worker, for replies.
  void Note(const Message& msg, const std::shared_ptr<Socket>& listener) {
    if (my_node_.role != Node::SERVER) return;
    connections_.SetBack(msg.meta.sender, listener, ConnectionName(msg.meta.sender));
  }

  void* context_ = nullptr;
  bool is_worker_ = false;
  Liveness liveness_;
  Alarm alarm_;
  const size_t placed_ = GetEnv("BYTEPS_GC_SLOT_BYTES", 32 << 10);  // from which a slot takes less time than a socket
  PendingRequests pending_;                                         // a worker's
  Slots slots_;                                                     // a worker's
  GivenRegions given_;                                              // a server's

  std::mutex own_mu_;  // of own_
  std::deque<Message> own_;

  Connections connections_{&alarm_};
  std::unique_ptr<Authenticator> authenticator_;
  int port_fd_ = -1;

  // the receiving thread's
  MessageFilter filter_{my_node_, &liveness_, &pending_, &slots_, &given_};
  Receiver receiver_{&connections_, &alarm_, &liveness_, &given_, [this](int server) { AskAgain(server); }};
};

// For code that does not include the van.
[[noreturn]] void EndJob(const std::string& why, int status) { ZMQVan::Abort(why, status); }

}  // namespace ps

#endif  // PS_ZMQ_VAN_H_
