// Fuzzing of the engine's message layer: what a process reads from connections and local sockets (docs/fuzzing.md).
// The first argument of the program names the target.
#include "engine.h"

namespace fuzz {

void change(std::string* text, Input* in) {
  const uint8_t what = in->byte();
  const size_t at = text->empty() ? 0 : in->two() % text->size();
  switch (what % 8) {
    case 0:
    case 1:
      if (!text->empty()) (*text)[at] = char((*text)[at] ^ 1 << what / 8 % 8);
      return;
    case 2:
      if (!text->empty()) (*text)[at] = char(in->byte());
      return;
    case 3:
      return text->resize(at);
    case 4:
      return void(text->append(size_t(1 + what / 8 % 8), what & 64 ? '\xff' : '\0'));
    case 5:
      return void(text->insert(at, 1, char(in->byte())));
    case 6:
      return void(text->erase(at, size_t(1 + what / 8 % 8)));
    default:
      return void(text->append(*text, at, size_t(1 + what / 8)));
  }
}

namespace {

// ps::Node::Role
enum { kServer, kWorker, kScheduler };

struct Target {
  const char* name;
  void (*attack)(Input* in);
};

const Target kTargets[] = {
    {"message-scheduler", [](Input* in) { attack_message(kScheduler, in); }},
    {"message-server", [](Input* in) { attack_message(kServer, in); }},
    {"message-worker", [](Input* in) { attack_message(kWorker, in); }},
    {"liveness", attack_liveness},
    {"regions", attack_regions},
    {"requests", attack_requests},
};

const Target* target = nullptr;

}  // namespace
}  // namespace fuzz

// More memory than there is ends a server, with a reason.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }

// Takes the target's name away from the arguments.
extern "C" int LLVMFuzzerInitialize(int* count, char*** words) {
  for (const fuzz::Target& one : fuzz::kTargets)
    if (*count > 1 && (*words)[1] == std::string(one.name)) fuzz::target = &one;
  fuzz::require(fuzz::target, "unknown target");
  (*words)[1] = (*words)[0];
  ++*words, --*count;
  for (const char* const name : {"DMLC_NUM_WORKER", "DMLC_NUM_SERVER"}) setenv(name, "2", 1);
  setenv("DMLC_WORKER_ID", "0", 1);
  setenv("BYTEPS_GC_SLOT_BYTES", "16", 1);
  setenv("BYTEPS_SERVER_ENGINE_THREAD", "2", 1);
  for (const char* const name : {"BYTEPS_GC_BUILD", "BYTEPS_GC_ENCRYPT", "BYTEPS_GC_SECRET_FILE", "BYTEPS_GC_ROLE",
                                 "BYTEPS_PARTITION_BYTES", "BYTEPS_MIN_COMPRESS_BYTES", "BYTEPS_ENABLE_ASYNC"})
    unsetenv(name);
  std::cerr.setstate(std::ios::failbit);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input in(data, size);
  fuzz::target->attack(&in);
  return 0;
}
