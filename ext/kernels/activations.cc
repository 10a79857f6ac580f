#include "kernels/activations.h"

#include <cmath>

#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

// Function::apply(lanes) on all numbers of a row.
template <typename Function>
struct ForEach {
  template <typename Floats>
  PREDICTOR_INLINE static void run(float* x, size_t size) {
    Floats v;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, 0.0f);
      Function::apply(v);
      store_up_to(v, x + i, size - i);
    }
  }
};

// The part beyond |x| is e^(-x^2/2) times a polynomial of 1 / (1 + 0.28 |x|), as Abramowitz and Stegun have it
// (Handbook of Mathematical Functions, 7.1.26); the coefficients are those with the least error of GELU, 3e-9. What is
// left of it for large numbers is exactly 0.
struct Gelu {
  template <typename Floats>
  PREDICTOR_INLINE static void apply(Floats& v) {
    Floats positive;
    Floats magnitude;
    Floats most;
    fill(most, 20.0f);
    select(v < 0.0f, Floats{}, v, positive);
    take_magnitude(v, magnitude);
    select(magnitude > most, most, magnitude, magnitude);
    const Floats t = 1.0f / (magnitude * 0.28f + 1.0f);
    Floats p = t * -0.10755478950f + 0.39698960810f;
    p = p * t - 0.24851738711f;
    p = p * t + 0.27818194220f;
    p = p * t + 0.06379159602f;
    p = p * t + 0.11710898158f;
    Floats e = magnitude * magnitude * -0.5f;
    exponential(e);
    v = positive - magnitude * t * p * e;
  }
};

struct GeluTanh {
  template <typename Floats>
  PREDICTOR_INLINE static void apply(Floats& v) {
    Floats e = (v + v * v * v * 0.044715f) * (2 * 0.7978845608028654f);
    exponential(e);
    v = v - v / (e + 1.0f);  // tanh(y) = 1 - 2 / (e^2y + 1)
  }
};

// v sigmoid(factor v)
template <typename Floats>
PREDICTOR_INLINE void gate_itself(Floats& v, float factor) {
  Floats e = v * -factor;
  exponential(e);
  v = v / (e + 1.0f);
}

struct QuickGelu {
  template <typename Floats>
  PREDICTOR_INLINE static void apply(Floats& v) {
    gate_itself(v, 1.702f);
  }
};

struct Silu {
  template <typename Floats>
  PREDICTOR_INLINE static void apply(Floats& v) {
    gate_itself(v, 1.0f);
  }
};

struct Relu {
  template <typename Floats>
  PREDICTOR_INLINE static void apply(Floats& v) {
    select(v < 0.0f, Floats{}, v, v);
  }
};

struct Sigmoid {
  template <typename Floats>
  PREDICTOR_INLINE static void apply(Floats& v) {
    v = -v;
    exponential(v);
    v = 1.0f / (v + 1.0f);
  }
};

struct Tanh {
  template <typename Floats>
  PREDICTOR_INLINE static void apply(Floats& v) {
    hyperbolic_tangent(v);
  }
};

// Function::apply(lanes, others) on all numbers of two rows; the first gets the results.
template <typename Function>
struct ForBoth {
  template <typename Floats>
  PREDICTOR_INLINE static void run(float* x, const float* y, size_t size) {
    Floats v;
    Floats w;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, 0.0f);
      load_up_to(w, y + i, size - i, 0.0f);
      Function::apply(v, w);
      store_up_to(v, x + i, size - i);
    }
  }
};

struct Add {
  template <typename Floats>
  PREDICTOR_INLINE static void apply(Floats& v, const Floats& w) {
    v = v + w;
  }
};

struct Multiply {
  template <typename Floats>
  PREDICTOR_INLINE static void apply(Floats& v, const Floats& w) {
    v = v * w;
  }
};

struct MaxValue {
  template <typename Floats>
  PREDICTOR_INLINE static float run(const float* x, size_t size) {
    Floats most;
    fill(most, x[0]);
    Floats strange{};  // NaN where one was
    Floats v;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, x[0]);
      select(v == v, strange, v, strange);
      take_max(v, most, most);
    }
    return max_lane(most + strange);
  }
};

struct ExpSum {
  template <typename Floats>
  PREDICTOR_INLINE static double run(float* x, size_t size, float max) {
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
};

}  // namespace

void gelu(float* x, size_t size) {
  dispatch<ForEach<Gelu>>(x, size);
}

void gelu_tanh(float* x, size_t size) {
  dispatch<ForEach<GeluTanh>>(x, size);
}

void quick_gelu(float* x, size_t size) {
  dispatch<ForEach<QuickGelu>>(x, size);
}

void silu(float* x, size_t size) {
  dispatch<ForEach<Silu>>(x, size);
}

void relu(float* x, size_t size) {
  dispatch<ForEach<Relu>>(x, size);
}

void sigmoid(float* x, size_t size) {
  dispatch<ForEach<Sigmoid>>(x, size);
}

void tanh(float* x, size_t size) {
  dispatch<ForEach<Tanh>>(x, size);
}

void add(float* x, const float* y, size_t size) {
  dispatch<ForBoth<Add>>(x, y, size);
}

void multiply(float* x, const float* y, size_t size) {
  dispatch<ForBoth<Multiply>>(x, y, size);
}

float max_value(const float* x, size_t size) {
  return dispatch<MaxValue>(x, size);
}

double exp_sum(float* x, size_t size, float max) {
  return dispatch<ExpSum>(x, size, max);
}

}  // namespace predictor::kernels
