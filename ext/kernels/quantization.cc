#include "kernels/quantization.h"

#include "kernels/activations.h"
#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

struct QuantizeRow {
  template <typename Floats>
  PREDICTOR_INLINE static float run(const float* x, size_t size, int offset, uint8_t* out) {
    Floats magnitudes{};
    Floats strange{};  // NaN where one was
    Floats v;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, 0.0f);
      select(v == v, strange, v, strange);
      take_magnitude(v, v);
      take_max(v, magnitudes, magnitudes);
    }
    const float max = max_lane(magnitudes + strange);
    const float factor = max > 0 ? 127 / max : 0;
    typename LanesOf<Floats>::Ints whole;
    typename LanesOf<Floats>::Bytes bytes;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, 0.0f);
      v *= factor;
      round(v);
      convert(v, whole);
      convert(whole + offset, bytes);
      store_up_to(bytes, out + i, size - i);
    }
    return max / 127;
  }
};

struct DequantizeRow {
  template <typename Floats>
  PREDICTOR_INLINE static void run(const int32_t* sums, const float* column_scales, float row_scale, const float* bias,
                                   size_t size, float* out) {
    typename LanesOf<Floats>::Ints whole;
    Floats v;
    Floats w;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(whole, sums + i, size - i, 0);
      load_up_to(w, column_scales + i, size - i, 0.0f);
      convert(whole, v);
      v = v * w * row_scale;
      if (bias != nullptr) {
        load_up_to(w, bias + i, size - i, 0.0f);
        v += w;
      }
      store_up_to(v, out + i, size - i);
    }
  }
};

}  // namespace

float quantize_row(const float* x, size_t size, int offset, uint8_t* out) {
  return dispatch<QuantizeRow>(x, size, offset, out);
}

void dequantize_row(const int32_t* sums, const float* column_scales, float row_scale, const float* bias, size_t size,
                    float* out) {
  dispatch<DequantizeRow>(sums, column_scales, row_scale, bias, size, out);
}

}  // namespace predictor::kernels
