// Every codec by its name: the one place that lists them.
#include "codecs.h"

namespace bgc {

namespace {

struct Kind {
  const char* name;
  std::unique_ptr<Codec> (*make)(const Options&);
};

constexpr Kind kKinds[] = {
    {"onebit", make_onebit},       {"topk", make_topk},         {"randomk", make_randomk},
    {"dithering", make_dithering}, {"identity", make_identity},
};

const Kind* find(const std::string& name) {
  for (const Kind& kind : kKinds)
    if (name == kind.name) return &kind;
  return nullptr;
}

}  // namespace

bool is_codec(const std::string& name) { return find(name); }

std::unique_ptr<Codec> make_codec(const Options& options) { return find(options.codec)->make(options); }

}  // namespace bgc
