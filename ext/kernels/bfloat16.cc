#include "kernels/bfloat16.h"

#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

struct FloatToBfloat16 {
  template <typename Floats>
  PREDICTOR_INLINE static void run(const float* x, size_t size, uint16_t* out) {
    Floats v;
    typename LanesOf<Floats>::Words bits;
    typename LanesOf<Floats>::Halves halves;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, 0.0f);
      reinterpret(v, bits);
      const auto rounded = bits + 0x7fffu + (bits >> 16 & 1u);
      const auto quiet = bits | 0x400000u;  // a NaN must not become infinity
      select(v == v, rounded, quiet, bits);
      convert(bits >> 16, halves);
      store_up_to(halves, out + i, size - i);
    }
  }
};

struct Bfloat16ToFloat {
  template <typename Floats>
  PREDICTOR_INLINE static void run(const uint16_t* x, size_t size, float* out) {
    Floats v;
    typename LanesOf<Floats>::Words bits;
    typename LanesOf<Floats>::Halves halves;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(halves, x + i, size - i, uint16_t{0});
      convert(halves, bits);
      reinterpret(bits << 16, v);
      store_up_to(v, out + i, size - i);
    }
  }
};

// By arithmetic of floats, which puts the exponent right also where there is none (after Maratyszcza's FP16).
struct Float16ToFloat {
  template <typename Floats>
  PREDICTOR_INLINE static void run(const uint16_t* x, size_t size, float* out) {
    Floats normal;
    Floats small;
    typename LanesOf<Floats>::Words bits;
    typename LanesOf<Floats>::Words result;
    typename LanesOf<Floats>::Halves halves;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(halves, x + i, size - i, uint16_t{0});
      convert(halves, bits);
      const auto magnitude = (bits & 0x7fffu) << 17;
      reinterpret((magnitude >> 4) + (0xe0u << 23), normal);
      reinterpret((magnitude >> 17) | (126u << 23), small);
      normal *= 0x1p-112f;
      small -= 0.5f;
      select(magnitude < (1u << 27), small, normal, normal);
      reinterpret(normal, result);
      reinterpret(result | (bits & 0x8000u) << 16, normal);
      store_up_to(normal, out + i, size - i);
    }
  }
};

}  // namespace

void float_to_bfloat16(const float* x, size_t size, uint16_t* out) {
  dispatch<FloatToBfloat16>(x, size, out);
}

void bfloat16_to_float(const uint16_t* x, size_t size, float* out) {
  dispatch<Bfloat16ToFloat>(x, size, out);
}

void float16_to_float(const uint16_t* x, size_t size, float* out) {
  dispatch<Float16ToFloat>(x, size, out);
}

}  // namespace predictor::kernels
