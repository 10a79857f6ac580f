#include "kernels/quantization.h"

#include <algorithm>
#include <cstring>

#include "kernels/activations.h"
#include "kernels/simd.h"

namespace predictor::kernels {

PREDICTOR_CLONES float quantize_row(const float* x, size_t size, int offset, uint8_t* out) {
  Floats magnitudes{};
  Floats strange{};  // NaN where one was
  Floats v;
  for (size_t i = 0; i < size; i += kVectorSize) {
    load_up_to(v, x + i, size - i, 0);
    strange = v == v ? strange : v;
    v = v < 0.0f ? -v : v;
    magnitudes = v > magnitudes ? v : magnitudes;
  }
  const float max = max_lane(magnitudes + strange);
  const float factor = max > 0 ? 127 / max : 0;
  for (size_t i = 0; i < size; i += kVectorSize) {
    load_up_to(v, x + i, size - i, 0);
    v *= factor;
    round(v);
    const Bytes bytes = __builtin_convertvector(__builtin_convertvector(v, Ints) + offset, Bytes);
    std::memcpy(out + i, &bytes, std::min(kVectorSize, size - i));
  }
  return max / 127;
}

PREDICTOR_CLONES void dequantize_row(const int32_t* sums, const float* column_scales, float row_scale,
                                     const float* bias, size_t size, float* out) {
  Ints whole;
  Floats v;
  const size_t end = size / kVectorSize * kVectorSize;
  for (size_t i = 0; i < end; i += kVectorSize) {
    std::memcpy(&whole, sums + i, sizeof whole);
    load(v, column_scales + i);
    store(__builtin_convertvector(whole, Floats) * v * row_scale, out + i);
  }
  for (size_t i = end; i < size; ++i) out[i] = static_cast<float>(sums[i]) * column_scales[i] * row_scale;
  if (bias != nullptr) add(out, bias, size);
}

}  // namespace predictor::kernels
