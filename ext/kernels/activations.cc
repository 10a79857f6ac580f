#include "kernels/activations.h"

#include <cmath>

#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

// Sixteen numbers at a time; those that there are not are 0.
template <typename Function>
PREDICTOR_INLINE void apply(float* x, size_t size, const Function& function) {
  const size_t whole = size / kVectorSize * kVectorSize;
  Floats v;
  for (size_t i = 0; i < whole; i += kVectorSize) {
    load(v, x + i);
    function(v);
    store(v, x + i);
  }
  if (whole == size) return;
  load_some(v, x + whole, size - whole, 0);
  function(v);
  store_some(v, x + whole, size - whole);
}

// v = v sigmoid(factor v)
PREDICTOR_INLINE void gate_itself(Floats& v, float factor) {
  Floats e = v * -factor;
  exponential(e);
  v = v / (e + 1.0f);
}

}  // namespace

// The part beyond |x| is e^(-x^2/2) times a polynomial of 1 / (1 + 0.28 |x|), as Abramowitz and Stegun have it
// (Handbook of Mathematical Functions, 7.1.26); the coefficients are those with the least error of GELU, 3e-9. What is
// left of it for large numbers is exactly 0.
PREDICTOR_CLONES void gelu(float* x, size_t size) {
  apply(x, size, [](Floats& v) __attribute__((always_inline)) {
    const Floats positive = v < 0.0f ? Floats{} : v;
    Floats size_of = v < 0.0f ? -v : v;
    size_of = size_of > 20.0f ? Floats{} + 20.0f : size_of;
    const Floats t = 1.0f / (size_of * 0.28f + 1.0f);
    Floats p = t * -0.10755478950f + 0.39698960810f;
    p = p * t - 0.24851738711f;
    p = p * t + 0.27818194220f;
    p = p * t + 0.06379159602f;
    p = p * t + 0.11710898158f;
    Floats e = size_of * size_of * -0.5f;
    exponential(e);
    v = positive - size_of * t * p * e;
  });
}

PREDICTOR_CLONES void gelu_tanh(float* x, size_t size) {
  apply(x, size, [](Floats& v) __attribute__((always_inline)) {
    Floats e = (v + v * v * v * 0.044715f) * (2 * 0.7978845608028654f);
    exponential(e);
    v = v - v / (e + 1.0f);  // tanh(y) = 1 - 2 / (e^2y + 1)
  });
}

PREDICTOR_CLONES void quick_gelu(float* x, size_t size) {
  apply(x, size, [](Floats& v) __attribute__((always_inline)) { gate_itself(v, 1.702f); });
}

PREDICTOR_CLONES void silu(float* x, size_t size) {
  apply(x, size, [](Floats& v) __attribute__((always_inline)) { gate_itself(v, 1.0f); });
}

PREDICTOR_CLONES void relu(float* x, size_t size) {
  apply(x, size, [](Floats& v) __attribute__((always_inline)) { v = v < 0.0f ? Floats{} : v; });
}

PREDICTOR_CLONES void sigmoid(float* x, size_t size) {
  apply(x, size, [](Floats& v) __attribute__((always_inline)) {
    v = -v;
    exponential(v);
    v = 1.0f / (v + 1.0f);
  });
}

// Small numbers by Cephes' polynomial, since 1 - 2 / (e^2x + 1) has no more digits than 1 has.
PREDICTOR_CLONES void tanh(float* x, size_t size) {
  apply(x, size, [](Floats& v) __attribute__((always_inline)) {
    const Floats size_of = v < 0.0f ? -v : v;
    const Floats square = v * v;
    Floats p = square * -5.70498872745e-3f + 2.06390887954e-2f;
    p = p * square - 5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square - 3.33332819422e-1f;
    p = p * square * v + v;
    Floats e = size_of * 2.0f;
    exponential(e);
    const Floats large = 1.0f - 2.0f / (e + 1.0f);
    v = size_of < 0.625f ? p : (v < 0.0f ? -large : large);
  });
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

PREDICTOR_CLONES void multiply(float* x, const float* y, size_t size) {
  Floats v;
  Floats w;
  for (size_t i = 0; i < size; i += kVectorSize) {
    load_up_to(v, x + i, size - i, 0);
    load_up_to(w, y + i, size - i, 0);
    store_up_to(v * w, x + i, size - i);
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
