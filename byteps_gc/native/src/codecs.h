// Where each codec is made.
#pragma once

#include "codec.h"

namespace bgc {

std::unique_ptr<Codec> make_onebit(const Options& options);
std::unique_ptr<Codec> make_topk(const Options& options);
std::unique_ptr<Codec> make_randomk(const Options& options);
std::unique_ptr<Codec> make_dithering(const Options& options);
std::unique_ptr<Codec> make_identity(const Options& options);


}  // namespace bgc
