// Where compressors register and are made (byteps_gc's own implementation of
// the released interface).
//
// The table lives inside a function, so that it exists before the first
// registration whatever the order in which objects are linked. A partition that
// is too small to shrink gets the identity ("raw") in place of its codec;
// momentum and error feedback stay around it.
#include "compressor_registry.h"

namespace byteps {
namespace common {
namespace compressor {
namespace {

// bytes; below it a codec's header can outweigh what the codec saves
const size_t kRawBelow = 1024;

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
  BPS_CHECK(added) << "a compressor named " << name << " exists already";
}

CompressorRegistry::ctor_t CompressorRegistry::Find(const std::string& name) {
  auto found = Table().find(name);
  if (found == Table().end()) {
    std::string known;
    for (auto& entry : Table()) known += " " + entry.first;
    BPS_LOG(FATAL) << "no compressor is registered as " << name
                   << "; known:" << known;
  }
  return found->second;
}

std::unique_ptr<Compressor> CompressorRegistry::Create(const kwargs_t& kwargs,
                                                       size_t size,
                                                       DataType dtype) {
  for (const std::string layer : kLayers) {
    auto wanted = kwargs.find(layer);
    if (wanted == kwargs.end()) continue;
    const bool raw = layer == "compressor_type" && size < kRawBelow;
    return Find((raw ? "raw" : wanted->second) + "_" + layer)(kwargs, size,
                                                              dtype);
  }
  return nullptr;
}

}  // namespace compressor
}  // namespace common
}  // namespace byteps
