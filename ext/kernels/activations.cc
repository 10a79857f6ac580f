#include "kernels/activations.h"

#include <cmath>

#include "kernels/simd.h"

namespace predictor::kernels {

PREDICTOR_CLONES void gelu_tanh(float* x, size_t size) {
  const auto of = [](Floats& v) __attribute__((always_inline)) {
    Floats e = (v + v * v * v * 0.044715f) * (2 * 0.7978845608028654f);
    exponential(e);
    v = v - v / (e + 1.0f);  // tanh(y) = 1 - 2 / (e^2y + 1)
  };
  const size_t whole = size / kVectorSize * kVectorSize;
  Floats v;
  for (size_t i = 0; i < whole; i += kVectorSize) {
    load(v, x + i);
    of(v);
    store(v, x + i);
  }
  load_some(v, x + whole, size - whole, 0);
  of(v);
  store_some(v, x + whole, size - whole);
}

PREDICTOR_CLONES void add(float* x, const float* y, size_t size) {
  Floats v;
  Floats w;
  for (size_t i = 0; i < size; i += kVectorSize) {
    load_up_to(v, x + i, size - i, 0);
    load_up_to(w, y + i, size - i, 0);
    store_up_to(v + w, x + i, size - i);
  }
}

PREDICTOR_CLONES float max_value(const float* x, size_t size) {
  Floats most = Floats{} + x[0];
  Floats strange{};  // NaN where one was
  Floats v;
  for (size_t i = 0; i < size; i += kVectorSize) {
    load_up_to(v, x + i, size - i, x[0]);
    strange = v == v ? strange : v;
    most = v > most ? v : most;
  }
  return max_lane(most + strange);
}

PREDICTOR_CLONES double exp_sum(float* x, size_t size, float max) {
  double total = 0;
  Floats v;
  for (size_t i = 0; i < size; i += kVectorSize) {
    load_up_to(v, x + i, size - i, -INFINITY);
    v -= max;
    exponential(v);
    store_up_to(v, x + i, size - i);
    total += static_cast<double>(sum(v));
  }
  return total;
}

}  // namespace predictor::kernels
