#include "kernels/norms.h"

#include <cmath>

#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

template <typename Floats>
PREDICTOR_INLINE float sum_of_squares(const float* x, size_t size) {
  Floats total{};
  Floats v;
  for (size_t i = 0; i < size; i += kVectorSize) {
    load_up_to(v, x + i, size - i, 0.0f);
    total += v * v;
  }
  return sum(total);
}

// (x - mean) * factor * weight + bias
template <typename Floats>
PREDICTOR_INLINE void scale(const float* x, float mean, float factor, const float* weight, const float* bias,
                            size_t size, float* out) {
  Floats v;
  Floats w;
  for (size_t i = 0; i < size; i += kVectorSize) {
    load_up_to(v, x + i, size - i, 0.0f);
    v = (v - mean) * factor;
    if (weight != nullptr) {
      load_up_to(w, weight + i, size - i, 0.0f);
      v *= w;
    }
    if (bias != nullptr) {
      load_up_to(w, bias + i, size - i, 0.0f);
      v += w;
    }
    store_up_to(v, out + i, size - i);
  }
}

struct LayerNorm {
  template <typename Floats>
  PREDICTOR_INLINE static void run(const float* x, const float* weight, const float* bias, float epsilon, size_t size,
                                   float* out) {
    Floats total{};
    Floats v;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, 0.0f);
      total += v;
    }
    const float mean = sum(total) / static_cast<float>(size);
    Floats squares{};
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, x + i, size - i, mean);
      v -= mean;
      squares += v * v;
    }
    const float variance = sum(squares) / static_cast<float>(size);
    scale<Floats>(x, mean, 1 / std::sqrt(variance + epsilon), weight, bias, size, out);
  }
};

struct RmsNorm {
  template <typename Floats>
  PREDICTOR_INLINE static void run(const float* x, const float* weight, float epsilon, size_t size, float* out) {
    const float mean_square = sum_of_squares<Floats>(x, size) / static_cast<float>(size);
    scale<Floats>(x, 0, 1 / std::sqrt(mean_square + epsilon), weight, nullptr, size, out);
  }
};

struct L2Normalize {
  template <typename Floats>
  PREDICTOR_INLINE static void run(float* x, size_t size, float epsilon) {
    const float length = std::sqrt(sum_of_squares<Floats>(x, size));
    scale<Floats>(x, 0, 1 / (length < epsilon ? epsilon : length), nullptr, nullptr, size, x);
  }
};

}  // namespace

void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, size_t size, float* out) {
  dispatch<LayerNorm>(x, weight, bias, epsilon, size, out);
}

void rms_norm(const float* x, const float* weight, float epsilon, size_t size, float* out) {
  dispatch<RmsNorm>(x, weight, epsilon, size, out);
}

void l2_normalize(float* x, size_t size, float epsilon) {
  dispatch<L2Normalize>(x, size, epsilon);
}

}  // namespace predictor::kernels
