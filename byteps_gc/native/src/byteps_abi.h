// What of BytePS 0.2.5 a compressor meets: its interface, as its libraries have it compiled. BytePS's
// headers are not needed, so that this library serves any build of that release.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

namespace byteps {
namespace common {

enum DataType { kAnyDataType = 0 };  // BytePS's names are not used, its numbers are: 0 float32, 2 float16

namespace compressor {

struct BPSTensor {
  char* data;
  size_t size;  // bytes
  int dtype;
};

class Compressor {
 public:
  virtual ~Compressor() = default;
  virtual BPSTensor Compress(BPSTensor gradient) = 0;
  virtual BPSTensor Decompress(BPSTensor compressed) = 0;
  virtual void FastUpdateError(BPSTensor, BPSTensor, BPSTensor) {}

 protected:
  size_t size_ = 0;
  DataType dtype_ = kAnyDataType;
  std::unique_ptr<char[]> buffer_;
};

using Settings = std::unordered_map<std::string, std::string>;
using Constructor = std::function<std::unique_ptr<Compressor>(const Settings&, size_t, DataType)>;

// BytePS's CompressorRegistry::Register: constructing one registers. Its constructor is looked up in
// the library that is loaded, by the name that the compiler gave it.
constexpr const char* kRegister =
    "_ZN6byteps6common10compressor18CompressorRegistry8RegisterC1ENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
    "St8functionIFSt10unique_ptrINS1_10CompressorESt14default_deleteISC_EERKSt13unordered_mapIS9_S9_St4hashIS9_E"
    "St8equal_toIS9_ESaISt4pairIKS9_S9_EEEmNS0_8DataTypeEEE";
using RegisterFunction = void (*)(void* place, std::string name, Constructor constructor);

}  // namespace compressor
}  // namespace common
}  // namespace byteps
