#include "kernels/quantization.h"

#include <cmath>

#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

struct QuantizeRow {
  template <typename Floats>
  PREDICTOR_INLINE static CenteredRow run(const float* x, size_t size, int offset, uint8_t* out) {
    Floats most;
    Floats most_below;  // of the numbers with their signs changed
    fill(most, -INFINITY);
    fill(most_below, -INFINITY);
    Floats strange{};  // NaN where one was
    Floats v;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, x[0]);
      select(v == v, strange, v, strange);
      take_max(v, most, most);
      take_max(-v, most_below, most_below);
    }
    const float high = max_lane(most + strange);
    const float low = -max_lane(most_below + strange);
    const CenteredRow row{high - low > 0 ? (high - low) / 254 : (high - low) * 0, high / 2 + low / 2};
    const float factor = row.scale > 0 ? 1 / row.scale : 0;
    Floats limit;
    fill(limit, 127.0f);
    typename LanesOf<Floats>::Ints whole;
    typename LanesOf<Floats>::Bytes bytes;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, x[0]);
      v = (v - row.middle) * factor;
      round(v);
      select(v > limit, limit, v, v);
      select(v < -limit, -limit, v, v);
      convert(v, whole);
      convert(whole + offset, bytes);
      store_up_to(bytes, out + i, size - i);
    }
    return row;
  }
};

struct QuantizeWeights {
  template <typename Floats>
  PREDICTOR_INLINE static float run(const float* x, size_t size, int8_t* out) {
    Floats most{};
    Floats strange{};  // NaN where one was
    Floats v;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, 0.0f);
      select(v == v, strange, v, strange);
      take_magnitude(v, v);
      take_max(v, most, most);
    }
    const float magnitude = max_lane(most + strange);
    const float scale = (magnitude < 1e-12f ? 1e-12f : magnitude) / 127;
    typename LanesOf<Floats>::Ints whole;
    typename LanesOf<Floats>::Bytes bytes;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, 0.0f);
      v = v / scale;
      round(v);
      convert(v, whole);
      convert(whole, bytes);
      store_up_to(bytes, reinterpret_cast<uint8_t*>(out) + i, size - i);
    }
    return scale;
  }
};

struct DequantizeRow {
  template <typename Floats>
  PREDICTOR_INLINE static void run(const int32_t* sums, const float* column_scales, const float* column_sums,
                                   const CenteredRow& row, const float* bias, size_t size, float* out) {
    typename LanesOf<Floats>::Ints whole;
    Floats v;
    Floats w;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(whole, sums + i, size - i, 0);
      load_up_to(w, column_scales + i, size - i, 0.0f);
      convert(whole, v);
      v = v * w * row.scale;
      load_up_to(w, column_sums + i, size - i, 0.0f);
      v += w * row.middle;
      if (bias != nullptr) {
        load_up_to(w, bias + i, size - i, 0.0f);
        v += w;
      }
      store_up_to(v, out + i, size - i);
    }
  }
};

}  // namespace

CenteredRow quantize_row(const float* x, size_t size, int offset, uint8_t* out) {
  return dispatch<QuantizeRow>(x, size, offset, out);
}

float quantize_weights(const float* x, size_t size, int8_t* out) {
  return dispatch<QuantizeWeights>(x, size, out);
}

void dequantize_row(const int32_t* sums, const float* column_scales, const float* column_sums, const CenteredRow& row,
                    const float* bias, size_t size, float* out) {
  dispatch<DequantizeRow, const int32_t*, const float*, const float*, const CenteredRow&>(
      sums, column_scales, column_sums, row, bias, size, out);
}

}  // namespace predictor::kernels
