#include "row_math.h"

#include <algorithm>
#include <cmath>

#include "lanes.h"

namespace predictor {

PREDICTOR_CLONES void layer_norm(const float* x, const float* gain, const float* shift, float epsilon, size_t width,
                                 float* out) {
  const size_t whole = width / kLanes16 * kLanes16;
  Lanes total{};
  Lanes v;
  for (size_t i = 0; i < whole; i += kLanes16) {
    load(v, x + i);
    total += v;
  }
  load_some(v, x + whole, width - whole, 0);
  const float mean = sum(total + v) / static_cast<float>(width);
  Lanes squares{};
  for (size_t i = 0; i < whole; i += kLanes16) {
    load(v, x + i);
    v -= mean;
    squares += v * v;
  }
  load_some(v, x + whole, width - whole, mean);
  v -= mean;
  const float variance = sum(squares + v * v) / static_cast<float>(width);
  const float factor = 1 / std::sqrt(variance + epsilon);
  for (size_t i = 0; i < width; ++i) out[i] = (x[i] - mean) * factor * gain[i] + shift[i];
}

PREDICTOR_CLONES void gelu(float* x, size_t width) {
  const auto of = [](Lanes& v) __attribute__((always_inline)) {
    Lanes e = (v + v * v * v * 0.044715f) * (2 * 0.7978845608028654f);
    exponential(e);
    v = v - v / (e + 1.0f);  // tanh(y) = 1 - 2 / (e^2y + 1)
  };
  const size_t whole = width / kLanes16 * kLanes16;
  Lanes v;
  for (size_t i = 0; i < whole; i += kLanes16) {
    load(v, x + i);
    of(v);
    store(v, x + i);
  }
  load_some(v, x + whole, width - whole, 0);
  of(v);
  store_some(v, x + whole, width - whole);
}

PREDICTOR_CLONES void add(float* x, const float* y, size_t width) {
  for (size_t i = 0; i < width; ++i) x[i] += y[i];
}

float greatest(const float* x, size_t count) {
  float most = x[0];
  for (size_t i = 0; i < count; ++i) {
    if (x[i] != x[i]) return x[i];
    if (x[i] > most) most = x[i];
  }
  return most;
}

PREDICTOR_CLONES double exponentials(float* x, size_t count, float greatest) {
  double total = 0;
  Lanes v;
  for (size_t i = 0; i < count; i += kLanes16) {
    const size_t size = std::min(kLanes16, count - i);
    if (size == kLanes16) {
      load(v, x + i);
    } else {
      load_some(v, x + i, size, -INFINITY);
    }
    v -= greatest;
    exponential(v);
    if (size == kLanes16) {
      store(v, x + i);
    } else {
      store_some(v, x + i, size);
    }
    total += static_cast<double>(sum(v));
  }
  return total;
}

PREDICTOR_CLONES float quantise(const float* x, size_t width, int8_t* out) {
  float most = 0;
  for (size_t i = 0; i < width; ++i) most = std::max(most, std::abs(x[i]));
  if (!(most > 0)) {
    std::fill(out, out + width, int8_t{0});
    return most;  // 0, or NaN
  }
  const float factor = 127 / most;
  for (size_t i = 0; i < width; ++i) out[i] = static_cast<int8_t>(std::nearbyint(x[i] * factor));
  return most / 127;
}

PREDICTOR_CLONES void scale_and_shift(float* x, float scale, const float* shift, size_t width) {
  for (size_t i = 0; i < width; ++i) x[i] *= scale;
  if (shift != nullptr) add(x, shift, width);
}

void remember(const AttentionCache& cache, size_t position, size_t heads, size_t head_width, const float* keys,
              const float* values) {
  const size_t stride = padded_to_lanes(head_width);
  for (size_t head = 0; head < heads; ++head) {
    const size_t at = (head * cache.context + position) * stride;
    std::copy_n(keys + head * head_width, head_width, cache.keys + at);
    std::copy_n(values + head * head_width, head_width, cache.values + at);
    std::fill(cache.keys + at + head_width, cache.keys + at + stride, 0.0f);
    std::fill(cache.values + at + head_width, cache.values + at + stride, 0.0f);
  }
}

PREDICTOR_CLONES void attend(const AttentionCache& cache, size_t position, size_t heads, size_t head_width,
                             const float* queries, float* scratch, float* out) {
  const size_t stride = padded_to_lanes(head_width);
  const size_t positions = position + 1;
  float* const weights = scratch;
  float* const query = scratch + padded_to_lanes(cache.context);
  const float factor = 1 / std::sqrt(static_cast<float>(head_width));
  Lanes q;
  Lanes v;
  for (size_t head = 0; head < heads; ++head) {
    const float* const keys = cache.keys + head * cache.context * stride;
    const float* const values = cache.values + head * cache.context * stride;
    for (size_t i = 0; i < stride; ++i) query[i] = i < head_width ? queries[head * head_width + i] * factor : 0;
    for (size_t p = 0; p < positions; ++p) {
      Lanes total{};
      for (size_t i = 0; i < stride; i += kLanes16) {
        load(q, query + i);
        load(v, keys + p * stride + i);
        total += q * v;
      }
      weights[p] = sum(total);
    }
    const float share = static_cast<float>(1 / exponentials(weights, positions, greatest(weights, positions)));
    for (size_t i = 0; i < stride; i += kLanes16) {
      Lanes total{};
      for (size_t p = 0; p < positions; ++p) {
        load(v, values + p * stride + i);
        total += v * weights[p];
      }
      total *= share;
      store_some(total, out + head * head_width + i, std::min(kLanes16, head_width - i));
    }
  }
}

}  // namespace predictor
