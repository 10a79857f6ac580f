// Sixteen floats at a time, in GCC's vector extension: the compiler makes of it what the instruction set has.
//
// A row's result depends on that row alone, not on how many rows there are or which one it is: every row is walked in
// the same steps. That is why these loops are here, beside libtorch's own, whose last elements are computed otherwise.
// For products of matrices there are packed_gemm.h and libraries: docs/generation.md, "What multiplies".
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// A function that is compiled for each instruction set, the best of which is chosen when the program starts. The tests,
// which compile everything for one of them, define it as nothing.
#if defined(PREDICTOR_CLONES)
#elif defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define PREDICTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PREDICTOR_CLONES
#endif
#define PREDICTOR_INLINE __attribute__((always_inline)) inline

namespace predictor::kernels {

inline constexpr size_t kVectorSize = 16;

using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
using Bytes = uint8_t __attribute__((vector_size(16)));

// `count` rounded up to whole vectors.
inline constexpr size_t padded_to_vector(size_t count) {
  return (count + kVectorSize - 1) / kVectorSize * kVectorSize;
}

PREDICTOR_INLINE void load(Floats& lanes, const float* from) {
  std::memcpy(&lanes, from, sizeof lanes);
}
PREDICTOR_INLINE void store(const Floats& lanes, float* to) {
  std::memcpy(to, &lanes, sizeof lanes);
}
// The first `count` (below 16) from memory, the others `rest`.
PREDICTOR_INLINE void load_some(Floats& lanes, const float* from, size_t count, float rest) {
  for (size_t i = 0; i < kVectorSize; ++i) lanes[i] = i < count ? from[i] : rest;
}
// The first of `left` that there are.
PREDICTOR_INLINE void load_up_to(Floats& lanes, const float* from, size_t left, float rest) {
  if (left >= kVectorSize) {
    load(lanes, from);
  } else {
    load_some(lanes, from, left, rest);
  }
}
PREDICTOR_INLINE void store_some(const Floats& lanes, float* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = lanes[i];
}

PREDICTOR_INLINE void store_up_to(const Floats& lanes, float* to, size_t left) {
  if (left >= kVectorSize) {
    store(lanes, to);
  } else {
    store_some(lanes, to, left);
  }
}

PREDICTOR_INLINE float sum(const Floats& lanes) {
  const auto eight = __builtin_shufflevector(lanes, lanes, 0, 1, 2, 3, 4, 5, 6, 7) +
                     __builtin_shufflevector(lanes, lanes, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  return (four[0] + four[2]) + (four[1] + four[3]);
}

// A NaN makes it NaN.
PREDICTOR_INLINE float max_lane(const Floats& lanes) {
  float most = lanes[0];
  for (size_t i = 1; i < kVectorSize; ++i) most = lanes[i] > most || lanes[i] != lanes[i] ? lanes[i] : most;
  return most;
}

// To whole numbers, of less than 2^22.
PREDICTOR_INLINE void round(Floats& lanes) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23
  lanes = (lanes + kRounder) - kRounder;
}

// e to the power of each, to about 1e-7 of it; below -87 it is 0, above 88 as 88. After Cephes' expf: 2^n times a
// polynomial of what is left (https://netlib.org/cephes/).
PREDICTOR_INLINE void exponential(Floats& x) {
  const Ints too_low = x < -87.0f;
  const Ints too_high = x > 88.0f;
  x = too_low ? Floats{} - 87.0f : x;
  x = too_high ? Floats{} + 88.0f : x;
  Floats n = x * 1.44269504088896341f;
  round(n);
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;
  Floats scale;
  std::memcpy(&scale, &power, sizeof scale);
  x = too_low ? Floats{} : p * scale;
}

}  // namespace predictor::kernels
