// Ascending indices from a stream of Rice codes, decoded a byte at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bgc {

// Decodes by tables for one Rice parameter b. A code may begin in one byte and end in a later one. Between two bytes,
// the state is 0 in a code's zeros, and 1 + n after them and n of the b bits. The states are the critical path: each
// byte has those that follow all states in one word, so that a step of the path is a shift and a mask.
class RiceBytes {
 public:
  static constexpr int kMost = 7;  // the largest parameter: eight states

  static const RiceBytes& of(int b) {
    static const std::vector<RiceBytes> all = [] {
      std::vector<RiceBytes> tables;
      for (int b = 0; b <= kMost; ++b) tables.push_back(RiceBytes(b));
      return tables;
    }();
    return all[size_t(b)];
  }

  struct Position {
    size_t indices = 0, bytes = 0;  // read so far
    uint64_t next = 0;              // the next index, as far as its code has been read
    int missing = 0;                // how many of its b bits, the highest, have not been read; 0 before the first
  };
  // Reads whole bytes, and fewer than `count` indices. Checks nothing.
  Position read(const uint8_t* data, size_t bytes, size_t count, uint32_t* indices) const {
    Position now;
    size_t i = 0, at = 0, shift = 0;  // shift: eight times the state
    uint64_t next = 0;
    for (; i + 4 * 8 < count && at + 4 <= bytes; at += 4)  // at most eight codes end in a byte
      for (size_t k = 0; k < 4; ++k) {
        const size_t byte = data[at + k];
        const size_t entry = shift * 32 + byte;
        const Ends ends = ends_[entry];
        const size_t ended = steps_[entry].ended, advance = steps_[entry].advance;
        shift = states_[byte] >> shift & 56;
        for (size_t j = 0; j < 8; ++j) indices[i + j] = uint32_t(next) + ends.indices[j];
        i += ended;
        next += advance;
      }
    now.indices = i, now.bytes = at, now.next = next;
    if (shift) now.missing = b_ + 1 - int(shift / 8);
    return now;
  }

 private:
  struct alignas(8) Ends {
    uint8_t indices[8] = {};  // of the codes that end in this byte, relative to the next index before it
  };
  struct Step {
    uint16_t ended = 0;    // how many codes
    uint16_t advance = 0;  // what this byte adds to the next index
  };

  explicit RiceBytes(int b) : b_(b), ends_(size_t(b + 1) * 256), steps_(ends_.size()) {
    for (int state = 0; state <= b; ++state)
      for (size_t byte = 0; byte < 256; ++byte) {
        const size_t entry = size_t(state) * 256 + byte;
        states_[byte] |= uint64_t(fill(state, byte, &ends_[entry], &steps_[entry])) * 8 << 8 * state;
      }
  }
  // Returns the state after the byte.
  int fill(int state, size_t byte, Ends* ends, Step* step) const {
    for (int k = 0; k < 8; ++k) {
      const unsigned bit = byte >> k & 1;
      if (state)
        step->advance = uint16_t(step->advance + (bit << (state - 1))), ++state;
      else if (bit)
        state = 1;
      else
        step->advance = uint16_t(step->advance + (1u << b_));
      if (state <= b_) continue;
      ends->indices[step->ended++] = uint8_t(step->advance++);
      state = 0;
    }
    return state;
  }

  int b_;
  std::vector<Ends> ends_;     // of each state: one for each byte
  std::vector<Step> steps_;    // the same
  uint64_t states_[256] = {};  // of each byte: bits 8 * s to 8 * s + 7 are eight times the state that follows state s
};

}  // namespace bgc
