// Differences between the workers' announcements of a key, each of which ends the job with a message.
#ifndef BYTEPS_GC_SERVER_MISMATCH_H
#define BYTEPS_GC_SERVER_MISMATCH_H

#include <iterator>
#include <set>
#include <sstream>
#include <string>

#include "server_state.h"

namespace byteps {
namespace server {

// A worker's compression of a tensor in words, with the options that the other worker does not have.
inline std::string Compression(const std::string& options, const std::string& others, const std::string& tensor) {
  if (options.empty()) return "does not compress " + tensor;
  std::istringstream words(others);
  std::set<std::string> known{std::istream_iterator<std::string>(words), std::istream_iterator<std::string>()};
  std::istringstream mine(options);
  std::string found;
  for (std::string word; !others.empty() && mine >> word;) {
    if (!known.count(word)) found += (found.empty() ? " with " : " ") + word;
  }
  return "compresses " + tensor + found;
}

// Ends the job if a worker's announcement of a key differs from the first one.
inline void CheckAnnouncement(const Key& key, const Announcement& is, int dtype) {
  const Announcement& was = key.announcement;
  const std::string quoted = "'" + is.tensor + "'" + (is.label.empty() ? "" : " (" + is.label + ")");
  if (is.tensor != was.tensor)
    Fail(is.worker + " has the tensor '" + is.tensor + "' where " + was.worker + " has '" + was.tensor +
         "': all workers must declare the same tensors in the same order");
  if (is.workers != was.workers)
    Fail(is.worker + " exchanges " + quoted + " among " + std::to_string(is.workers) + " workers, " + was.worker +
         " among " + std::to_string(was.workers) + " (0: all): start the same number of workers on each host");
  if (dtype != key.dtype)
    Fail(is.worker + " has " + quoted + " as " + DtypeName(dtype) + ", " + was.worker + " as " + DtypeName(key.dtype) +
         ": use the same dtype and the same fp16 or bf16 setting on all workers");
  if (is.tensor_bytes != was.tensor_bytes)
    Fail(is.worker + " has " + quoted + " with " + std::to_string(is.tensor_bytes) + " bytes, " + was.worker +
         " with " + std::to_string(was.tensor_bytes) + ": all workers must train the same model");
  if (is.options != was.options)
    Fail(is.worker + " " + Compression(is.options, was.options, quoted) + ", " + was.worker + " " +
         Compression(was.options, is.options, "it") +
         ": use the same compression_params (also fp16 and bf16) and BYTEPS_MIN_COMPRESS_BYTES on all workers");
  // values that a worker derives from those above
  if (is.partition_bytes != was.partition_bytes)
    Fail(is.worker + " has BYTEPS_PARTITION_BYTES=" + std::to_string(is.partition_bytes) + ", " + was.worker + " has " +
         std::to_string(was.partition_bytes) + ", as " + quoted + " shows: set the same value on all hosts");
  if (is.bytes != was.bytes || is.part != was.part)
    Fail(is.worker + " divides " + quoted + " otherwise than " + was.worker +
         ": start all processes with the same byteps_gc");
}

}  // namespace server
}  // namespace byteps

#endif  // BYTEPS_GC_SERVER_MISMATCH_H
