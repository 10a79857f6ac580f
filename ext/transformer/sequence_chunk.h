// What a step reads of one sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace predictor {

// Tokens that are read at once, each after those before it.
struct SequenceChunk {
  std::span<const uint32_t> tokens;
  size_t first;                     // position of the first
  std::span<const uint32_t> pages;  // of the KV cache: the sequence's, these tokens' too
};

}  // namespace predictor
