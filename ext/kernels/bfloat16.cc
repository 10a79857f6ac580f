#include "kernels/bfloat16.h"

#include <algorithm>
#include <cstring>

#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

using Halves = uint16_t __attribute__((vector_size(32)));
using Words = uint32_t __attribute__((vector_size(64)));

// Sixteen at a time, by `function`.
template <typename InLanes, typename OutLanes, typename In, typename Out, typename Function>
PREDICTOR_INLINE void convert(const In* x, size_t size, Out* out, const Function& function) {
  static_assert(sizeof(InLanes) == kVectorSize * sizeof(In) && sizeof(OutLanes) == kVectorSize * sizeof(Out));
  for (size_t i = 0; i < size; i += kVectorSize) {
    const size_t count = std::min(kVectorSize, size - i);
    InLanes from{};
    if (count == kVectorSize) {
      std::memcpy(&from, x + i, sizeof from);
    } else {
      std::memcpy(&from, x + i, count * sizeof(In));
    }
    OutLanes to;
    function(from, to);
    if (count == kVectorSize) {
      std::memcpy(out + i, &to, sizeof to);
    } else {
      std::memcpy(out + i, &to, count * sizeof(Out));
    }
  }
}

}  // namespace

PREDICTOR_CLONES void float_to_bfloat16(const float* x, size_t size, uint16_t* out) {
  convert<Floats, Halves>(x, size, out, [](const Floats& from, Halves& to) __attribute__((always_inline)) {
    Words bits;
    std::memcpy(&bits, &from, sizeof bits);
    const Words rounded = bits + 0x7fff + (bits >> 16 & 1);
    const Words quiet = bits | 0x400000;  // a NaN must not become infinity
    bits = from == from ? rounded : quiet;
    to = __builtin_convertvector(bits >> 16, Halves);
  });
}

PREDICTOR_CLONES void bfloat16_to_float(const uint16_t* x, size_t size, float* out) {
  convert<Halves, Floats>(x, size, out, [](const Halves& from, Floats& to) __attribute__((always_inline)) {
    const Words bits = __builtin_convertvector(from, Words) << 16;
    std::memcpy(&to, &bits, sizeof to);
  });
}

// By arithmetic of floats, which puts the exponent right also where there is none (after Maratyszcza's FP16).
PREDICTOR_CLONES void float16_to_float(const uint16_t* x, size_t size, float* out) {
  convert<Halves, Floats>(x, size, out, [](const Halves& from, Floats& to) __attribute__((always_inline)) {
    const Words bits = __builtin_convertvector(from, Words) << 16;
    const Words magnitude = bits << 1;
    const Words normal_bits = (magnitude >> 4) + (0xe0u << 23);
    const Words small_bits = (magnitude >> 17) | (126u << 23);
    Floats normal;
    Floats small;
    std::memcpy(&normal, &normal_bits, sizeof normal);
    std::memcpy(&small, &small_bits, sizeof small);
    normal *= 0x1p-112f;
    small -= 0.5f;
    to = magnitude < (1u << 27) ? small : normal;
    Words result;
    std::memcpy(&result, &to, sizeof result);
    result |= bits & 0x80000000u;
    std::memcpy(&to, &result, sizeof to);
  });
}

}  // namespace predictor::kernels
