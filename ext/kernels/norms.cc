#include "kernels/norms.h"

#include <cmath>

#include "kernels/simd.h"

namespace predictor::kernels {

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
  const float factor = 1 / std::sqrt(variance + epsilon);
  for (size_t i = 0; i < size; ++i) out[i] = (x[i] - mean) * factor * weight[i] + bias[i];
}

}  // namespace predictor::kernels
