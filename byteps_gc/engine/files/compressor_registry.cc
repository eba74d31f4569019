// Registration and creation of compressors (byteps_gc's own implementation of
// BytePS's interface).
//
// The table is a static object of a function, so it exists before the first
// registration in any link order.
#include "compressor_registry.h"

#include <unistd.h>

#include <iostream>

namespace byteps {
namespace common {
namespace compressor {
namespace {

// outermost decorator first
#ifdef BYTEPS_BUILDING_SERVER
const char* const kLayers[] = {"ef_type", "compressor_type"};
#else
const char* const kLayers[] = {"momentum_type", "ef_type", "compressor_type"};
#endif

}  // namespace

CompressorRegistry::map_t& CompressorRegistry::Table() {
  static map_t table;
  return table;
}

CompressorRegistry::Register::Register(std::string name, ctor_t ctor) {
  const bool added = Table().emplace(name + "_type", std::move(ctor)).second;
  BPS_CHECK(added) << "compressor " << name << " is already registered";
}

CompressorRegistry::ctor_t CompressorRegistry::Find(const std::string& name) {
  auto found = Table().find(name);
  if (found == Table().end()) {
    std::cerr << "byteps: unknown compressor " << name
              << "; start servers with: python -m byteps_gc server" << std::endl;
    _exit(2);
  }
  return found->second;
}

std::unique_ptr<Compressor> CompressorRegistry::Create(const kwargs_t& kwargs,
                                                       size_t size,
                                                       DataType dtype) {
  for (const std::string layer : kLayers) {
    auto wanted = kwargs.find(layer);
    if (wanted == kwargs.end()) continue;
    return Find(wanted->second + "_" + layer)(kwargs, size, dtype);
  }
  return nullptr;
}

}  // namespace compressor
}  // namespace common
}  // namespace byteps
