// Sixteen floats at a time, in GCC's vector extension: the compiler makes of it what the instruction set has.
//
// A row's result depends on that row alone, not on how many rows there are or which one it is: every row is walked in
// the same steps. That is why these loops are here, beside libtorch's own, whose last elements are computed otherwise.
// For products of matrices there are panels.h and libraries: docs/generation.md, "What multiplies".
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define PREDICTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PREDICTOR_CLONES
#endif
#define PREDICTOR_INLINE __attribute__((always_inline)) inline

namespace predictor {

inline constexpr size_t kLanes16 = 16;

using Lanes = float __attribute__((vector_size(64)));
using LaneInts = int32_t __attribute__((vector_size(64)));
using LaneBytes = uint8_t __attribute__((vector_size(16)));

// `count` rounded up to whole vectors.
inline constexpr size_t padded_to_lanes(size_t count) {
  return (count + kLanes16 - 1) / kLanes16 * kLanes16;
}

PREDICTOR_INLINE void load(Lanes& lanes, const float* from) {
  std::memcpy(&lanes, from, sizeof lanes);
}
PREDICTOR_INLINE void store(const Lanes& lanes, float* to) {
  std::memcpy(to, &lanes, sizeof lanes);
}
// The first `count` (below 16) from memory, the others `rest`.
PREDICTOR_INLINE void load_some(Lanes& lanes, const float* from, size_t count, float rest) {
  for (size_t i = 0; i < kLanes16; ++i) lanes[i] = i < count ? from[i] : rest;
}
// The first of `left` that there are.
PREDICTOR_INLINE void load_up_to(Lanes& lanes, const float* from, size_t left, float rest) {
  if (left >= kLanes16) {
    load(lanes, from);
  } else {
    load_some(lanes, from, left, rest);
  }
}
PREDICTOR_INLINE void store_some(const Lanes& lanes, float* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = lanes[i];
}

PREDICTOR_INLINE void store_up_to(const Lanes& lanes, float* to, size_t left) {
  if (left >= kLanes16) {
    store(lanes, to);
  } else {
    store_some(lanes, to, left);
  }
}

PREDICTOR_INLINE float sum(const Lanes& lanes) {
  const auto eight = __builtin_shufflevector(lanes, lanes, 0, 1, 2, 3, 4, 5, 6, 7) +
                     __builtin_shufflevector(lanes, lanes, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  return (four[0] + four[2]) + (four[1] + four[3]);
}

// A NaN makes it NaN.
PREDICTOR_INLINE float greatest_of(const Lanes& lanes) {
  float most = lanes[0];
  for (size_t i = 1; i < kLanes16; ++i) most = lanes[i] > most || lanes[i] != lanes[i] ? lanes[i] : most;
  return most;
}

// To whole numbers, of less than 2^22.
PREDICTOR_INLINE void round(Lanes& lanes) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23
  lanes = (lanes + kRounder) - kRounder;
}

// e to the power of each, to about 1e-7 of it; below -87 it is 0, above 88 as 88. After Cephes' expf: 2^n times a
// polynomial of what is left (https://netlib.org/cephes/).
PREDICTOR_INLINE void exponential(Lanes& x) {
  const LaneInts too_low = x < -87.0f;
  const LaneInts too_high = x > 88.0f;
  x = too_low ? Lanes{} - 87.0f : x;
  x = too_high ? Lanes{} + 88.0f : x;
  Lanes n = x * 1.44269504088896341f;
  round(n);
  const Lanes r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const LaneInts power = (__builtin_convertvector(n, LaneInts) + 127) << 23;
  Lanes scale;
  std::memcpy(&scale, &power, sizeof scale);
  x = too_low ? Lanes{} : p * scale;
}

}  // namespace predictor
