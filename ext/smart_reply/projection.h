// The sums behind LSH_PROJECTION's bits, many seeds at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace predictor::smart_reply {

// Weighted features: id[i] counts weight[i] times.
struct Features {
  const int32_t* ids;
  const float* weights;
  size_t size;
};

// For each seed s (the bits of a float): the sum over i, in this order and in double precision, of
// weights[i] * int64(Fingerprint64(bytes of s, bytes of ids[i])). All implementations give the same bits.
using ProjectionKernel = void (*)(const uint32_t* seeds, size_t seed_count, Features features, double* sums);

enum class Instructions { kPortable, kAvx2, kAvx512 };

// Whether this processor has them.
bool is_supported(Instructions instructions);
ProjectionKernel projection_kernel(Instructions instructions);
// The widest that this processor has.
Instructions best_instructions();

}  // namespace predictor::smart_reply
