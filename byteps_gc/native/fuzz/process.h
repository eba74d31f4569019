// A process of a job of two workers and two servers, whose network is the harness: its van reads from sockets that the
// harness fills, and what it sends stays in them.
#ifndef BYTEPS_GC_FUZZ_PROCESS_H
#define BYTEPS_GC_FUZZ_PROCESS_H

#include "engine.h"

#include "byteps_gc_wire.h"
#include "ps/internal/postoffice.h"

namespace fuzz {

using ps::Control;
using ps::Message;
using ps::Meta;
using ps::Node;

constexpr int kServerIds[] = {8, 10}, kWorkerIds[] = {9, 11};
constexpr size_t kRegion = 1 << 16;  // bytes of shared memory of each worker and server

// A message, and the node whose connection it comes by; a listener's if nobody was called.
struct Arrival {
  enum { kListener = -1, kInside = -2 };
  int from;
  Parts parts;
};

class Process {
 public:
  using Handler = std::function<void(const Message&)>;
  using Next = std::function<bool(Process*)>;  // gives the process its next message; false if there are no more

  explicit Process(Node::Role role);
  ~Process();
  Process(const Process&) = delete;

  // Joins a job: the scheduler's list of nodes has come.
  static Arrival List(Node::Role role);
  // Is in the job already.
  void Join();
  // Receives what `next` gives, as the thread of a van does; false if the process has ended itself.
  bool Run(const Next& next);
  // Puts a message where it comes in; false if there is no such connection.
  bool Deliver(const Arrival& arrival);
  // Lets a connection that the process has made have an event.
  void Happen(int node, int event);
  // Ends the job if liveness has a reason to.
  void Judge(double passed);
  // Whether the last message was dropped.
  bool Dropped();
  // Expects answers of both servers to requests 1 to `last`.
  void Expect(int last);
  // Sends an answer.
  void Answer(Message* message);
  // All that has been sent by a listener.
  const std::vector<Parts>& Sent() const;
  void SendToSelf(Control::Command command);

  const Node::Role role;

 private:
  struct Van;
  std::unique_ptr<Van> van_;
  std::unique_ptr<ps::Customer> customer_;

 public:
  // Gives data to a handler instead of a server's or worker's.
  void Handle(const Handler& handler);
};

// A header as a member writes it.
Meta DataMeta(bool request, bool push, int command, int timestamp, bool wants_sum);
std::string Packed(const Meta& meta);
std::string Name(int id);

template <typename T>
std::string Bytes(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace fuzz

#endif  // BYTEPS_GC_FUZZ_PROCESS_H
