#include "kernels/norms.h"

#include <cmath>

#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

PREDICTOR_INLINE float sum_of_squares(const float* x, size_t size) {
  const size_t whole = size / kVectorSize * kVectorSize;
  Floats total{};
  Floats v;
  for (size_t i = 0; i < whole; i += kVectorSize) {
    load(v, x + i);
    total += v * v;
  }
  load_some(v, x + whole, size - whole, 0);
  return sum(total + v * v);
}

// (x - mean) * factor * weight + bias
PREDICTOR_INLINE void scale(const float* x, float mean, float factor, const float* weight, const float* bias,
                            size_t size, float* out) {
  Floats v;
  Floats w;
  for (size_t i = 0; i < size; i += kVectorSize) {
    load_up_to(v, x + i, size - i, 0);
    v = (v - mean) * factor;
    if (weight != nullptr) {
      load_up_to(w, weight + i, size - i, 0);
      v *= w;
    }
    if (bias != nullptr) {
      load_up_to(w, bias + i, size - i, 0);
      v += w;
    }
    store_up_to(v, out + i, size - i);
  }
}

}  // namespace

PREDICTOR_CLONES void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, size_t size,
                                 float* out) {
  const size_t whole = size / kVectorSize * kVectorSize;
  Floats total{};
  Floats v;
  for (size_t i = 0; i < whole; i += kVectorSize) {
    load(v, x + i);
    total += v;
  }
  load_some(v, x + whole, size - whole, 0);
  const float mean = sum(total + v) / static_cast<float>(size);
  Floats squares{};
  for (size_t i = 0; i < whole; i += kVectorSize) {
    load(v, x + i);
    v -= mean;
    squares += v * v;
  }
  load_some(v, x + whole, size - whole, mean);
  v -= mean;
  const float variance = sum(squares + v * v) / static_cast<float>(size);
  scale(x, mean, 1 / std::sqrt(variance + epsilon), weight, bias, size, out);
}

PREDICTOR_CLONES void rms_norm(const float* x, const float* weight, float epsilon, size_t size, float* out) {
  const float mean_square = sum_of_squares(x, size) / static_cast<float>(size);
  scale(x, 0, 1 / std::sqrt(mean_square + epsilon), weight, nullptr, size, out);
}

PREDICTOR_CLONES void l2_normalize(float* x, size_t size, float epsilon) {
  const float length = std::sqrt(sum_of_squares(x, size));
  scale(x, 0, 1 / (length < epsilon ? epsilon : length), nullptr, nullptr, size, x);
}

}  // namespace predictor::kernels
