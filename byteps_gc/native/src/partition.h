// One partition of one gradient, on a worker and on a server: wrappers, codec and frame together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "wrappers.h"

namespace bgc {

// What becomes of the state before a step: it stays, its last step is taken back, or it starts from zero.
enum class Before { kKeep, kTakeBack, kReset };

struct View {
  const uint8_t* data = nullptr;
  size_t size = 0;
};

// What both sides know of a partition when it is registered.
struct Registration {
  Options options;
  DType dtype = kFloat32;
  size_t bytes = 0;  // the partition's, rounded up to a multiple of the engine's alignment
  uint16_t workers = 1;

  size_t element() const { return dtype == kFloat16 ? 2 : 4; }
  size_t alignment() const { return dtype == kFloat16 ? 32 : 128; }
  bool allows(size_t d) const { return d * element() <= bytes && d * element() + alignment() > bytes; }
};

// Checks what was registered, perhaps over the network; false, with the reason.
bool check_registration(const Texts& texts, int dtype, size_t bytes, int workers, Registration* registration,
                        std::string* why);

class Partition {
 public:
  explicit Partition(const Registration& registration);
  virtual ~Partition() = default;
  float eta() const { return feedback_ ? feedback_->eta() : 0; }

 protected:
  // `data` as float32: itself, or converted to scratch
  const float* wide(const void* data, size_t d) const;
  void narrow(const float* values, size_t d, void* out) const;
  // Sends blocks through error feedback and the codec and writes the payload behind the frame's header. `source(offset,
  // n, room)` returns a block padded with zeros to a multiple of 32, in `room` or where it stands; `whole` is where all
  // of them stand, or null. False if a value is not finite; otherwise the residual is the new one.
  template <typename Source>
  bool encode(size_t d, float eta, const Draw& draw, const float* whole, Source source, Payload* payload);
  View seal(Header header, const Payload& payload);
  // Checks what a push, or a reply, of this partition has to have. elements: d, or 0 for any that the registered size
  // allows.
  bool check(const Header& header, bool reply, size_t elements, Refusal* why) const;

  const Registration registration_;
  std::unique_ptr<Codec> codec_;
  std::unique_ptr<ErrorFeedback> feedback_;
  Array<uint8_t> frame_;
  const bool raw_;
};

class Worker : public Partition {
 public:
  Worker(const Registration& registration, uint16_t worker, uint32_t stream);
  // The frame that pushes a gradient of d elements. The view is valid until the next call.
  View compress(const void* gradient, size_t d, float eta, Before before);
  // Writes d elements of a reply, which may stand where they go. False, with the reason, if it is malformed or an
  // error; an answer to a gradient that was not finite is written as NaN.
  bool decompress(View reply, size_t d, void* out, Refusal* why);

  // whether all values of the last reply are
  bool finite() const { return finite_; }

  uint32_t step() const { return step_; }
  // Other workers have made these steps without this one.
  void pass_over(uint32_t steps) { step_ += steps; }
  // Does to the state what a step begins with; that step does it no more.
  void settle(Before before);
  void save(float* momentum, float* residual) const;
  void load(uint32_t step, float eta, size_t d, const float* momentum, const float* residual);

 private:
  void prepare(size_t d);
  bool check_reply(const Header& header, size_t d, Refusal* why) const;
  const float* block(const float* g, size_t offset, size_t n, bool stream, float* room);
  View pass(const float* g, size_t d);
  const uint16_t worker_;
  const uint32_t stream_;
  uint32_t step_ = 0, d_ = 0;
  float last_eta_ = 0;
  bool finite_ = true;
  std::unique_ptr<Momentum> momentum_;
};

class Server : public Partition {
 public:
  explicit Server(const Registration& registration);
  // Takes what a worker pushed; false, with the reason, if it is refused: then the whole step is.
  bool push(View frame, Refusal* why);
  // Ends the step: the answer to all workers, for a partition of d elements. Valid until the next call.
  // absent: workers that have not pushed, and count as zeros.
  View reply(size_t d, size_t absent = 0);
  // Decodes one frame and adds it to d floats.
  bool add(View frame, size_t d, float* out, Refusal* why) const;

  uint32_t step() const { return next_; }
  void save(size_t d, float* residual) const;
  void load(uint32_t step, float eta, size_t d, const float* residual);

 private:
  bool accept(View frame, Refusal* why);
  bool agrees(const Header& header, Refusal* why) const;
  bool push_raw(View data, Refusal* why);
  size_t elements() const { return d_ ? d_ : arrived_ ? first_.d : 0; }  // 0: only the registered size is known
  View reply_raw(size_t d);
  View answer(size_t d);
  View refusal(size_t d);
  void prepare(size_t d);
  void end_step();

  std::vector<Push> pushes_;  // of each worker
  Pushes present_;            // of this step
  size_t arrived_ = 0;
  Header first_;               // of this step
  uint32_t next_ = 0, d_ = 0;  // steps below next_ were served
  Refusal refused_;            // why this step is
  Array<double> sums_;         // of raw pushes
};

}  // namespace bgc
