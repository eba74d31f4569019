// The C surface of a worker's engine (core_api.h): each function calls the session.
#include "byteps_gc_core_api.h"

#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "byteps_gc_core_session.h"

namespace byteps {
namespace common {
namespace core {
namespace {

// The session that is open, or the last one: never destroyed, as threads may still use it when the process ends.
std::mutex current_mutex;
std::shared_ptr<Session>& Slot() {
  static auto* slot = new std::shared_ptr<Session>;
  return *slot;
}

std::shared_ptr<Session> Current(std::string* why) {
  std::lock_guard<std::mutex> lock(current_mutex);
  if (!Slot()) *why = "BytePS has not been started";
  return Slot();
}

// Calls a function of the session; returns `failed` without a session. Writes an error to `why`.
template <class Result, class Function>
Result Call(Result failed, char* why, size_t room, Function function) {
  std::string text;
  const auto session = Current(&text);
  const Result result = session ? function(*session, &text) : failed;
  snprintf(why, room, "%s", text.c_str());
  return result;
}

}  // namespace
}  // namespace core
}  // namespace common
}  // namespace byteps

using byteps::common::core::Call;
using byteps::common::core::Current;
using byteps::common::core::Session;

extern "C" {

void byteps_gc_core_open() {
  std::lock_guard<std::mutex> lock(byteps::common::core::current_mutex);
  byteps::common::core::Slot() = std::make_shared<Session>();
}

void byteps_gc_core_close() {
  std::string why;
  if (const auto session = Current(&why)) session->Close();
}

uint64_t byteps_gc_core_connect(char* why, size_t room) {
  return Call(uint64_t(0), why, room, [](Session& session, std::string* text) { return session.Connect(text); });
}

int byteps_gc_core_stop(double seconds) {
  std::string why;
  const auto session = Current(&why);
  return session && !session->Stop(seconds);
}

int byteps_gc_core_declare(const char* name, uint64_t bytes, uint64_t partition, const char* label, int workers,
                           int options, const char* const* keys, const char* const* values, char* why, size_t room) {
  std::unordered_map<std::string, std::string> texts;
  for (int i = 0; i < options; ++i) texts[keys[i]] = values[i];
  return Call(-1, why, room, [&](Session& session, std::string* text) {
    return session.Declare(name, bytes, partition, label, workers, texts, text);
  });
}

uint64_t byteps_gc_core_register(int tensor, uint64_t bytes, int dtype, char* why, size_t room) {
  return Call(uint64_t(0), why, room, [&](Session& session, std::string* text) {
    return session.Register(tensor, bytes, dtype, text);
  });
}

uint64_t byteps_gc_core_exchange(int count, const byteps_gc_core_exchange_of* each, int queued, char* why,
                                 size_t room) {
  return Call(uint64_t(0), why, room, [&](Session& session, std::string* text) {
    return session.Exchange(count, each, queued != 0, text);
  });
}

int byteps_gc_core_wait(uint64_t ticket, double seconds, char* why, size_t room) {
  return Call(2, why, room, [&](Session& session, std::string* text) { return session.Wait(ticket, seconds, text); });
}

int byteps_gc_core_drain(double seconds) {
  std::string why;
  const auto session = Current(&why);
  return session && !session->Drain(seconds);
}

uint64_t byteps_gc_core_next(double seconds) {
  std::string why;
  const auto session = Current(&why);
  return session ? session->Next(seconds) : 0;
}

void byteps_gc_core_use_steps(void (*step)(int, float, int, float)) { byteps::common::core::HandStep() = step; }

}  // extern "C"
