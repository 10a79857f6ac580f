#include "kernels/rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/simd.h"

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
  Lanes v;
  Lanes w;
  for (size_t i = 0; i < width; i += kLanes16) {
    load_up_to(v, x + i, width - i, 0);
    load_up_to(w, y + i, width - i, 0);
    store_up_to(v + w, x + i, width - i);
  }
}

PREDICTOR_CLONES float greatest(const float* x, size_t count) {
  Lanes most = Lanes{} + x[0];
  Lanes strange{};  // NaN where one was
  Lanes v;
  for (size_t i = 0; i < count; i += kLanes16) {
    load_up_to(v, x + i, count - i, x[0]);
    strange = v == v ? strange : v;
    most = v > most ? v : most;
  }
  return greatest_of(most + strange);
}

PREDICTOR_CLONES double exponentials(float* x, size_t count, float greatest) {
  double total = 0;
  Lanes v;
  for (size_t i = 0; i < count; i += kLanes16) {
    load_up_to(v, x + i, count - i, -INFINITY);
    v -= greatest;
    exponential(v);
    store_up_to(v, x + i, count - i);
    total += static_cast<double>(sum(v));
  }
  return total;
}

PREDICTOR_CLONES float quantise(const float* x, size_t width, int offset, uint8_t* out) {
  Lanes sizes{};
  Lanes strange{};  // NaN where one was
  Lanes v;
  for (size_t i = 0; i < width; i += kLanes16) {
    load_up_to(v, x + i, width - i, 0);
    strange = v == v ? strange : v;
    v = v < 0.0f ? -v : v;
    sizes = v > sizes ? v : sizes;
  }
  const float most = greatest_of(sizes + strange);
  const float factor = most > 0 ? 127 / most : 0;
  for (size_t i = 0; i < width; i += kLanes16) {
    load_up_to(v, x + i, width - i, 0);
    v *= factor;
    round(v);
    const LaneBytes bytes = __builtin_convertvector(__builtin_convertvector(v, LaneInts) + offset, LaneBytes);
    std::memcpy(out + i, &bytes, std::min(kLanes16, width - i));
  }
  return most / 127;
}

PREDICTOR_CLONES void rescale(const int32_t* sums, const float* scales, float scale, const float* shift, size_t width,
                              float* out) {
  LaneInts whole;
  Lanes v;
  const size_t end = width / kLanes16 * kLanes16;
  for (size_t i = 0; i < end; i += kLanes16) {
    std::memcpy(&whole, sums + i, sizeof whole);
    load(v, scales + i);
    store(__builtin_convertvector(whole, Lanes) * v * scale, out + i);
  }
  for (size_t i = end; i < width; ++i) out[i] = static_cast<float>(sums[i]) * scales[i] * scale;
  if (shift != nullptr) add(out, shift, width);
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

namespace {

constexpr size_t kAhead = 8;  // positions: a cache is larger than the processor's own

// The weighted sum of `Lots` times 16 columns of `rows`, which are `stride` apart: as many chains of additions at once.
template <size_t Lots>
PREDICTOR_INLINE void mix(const float* rows, size_t stride, const float* weights, size_t count, float factor,
                          Lanes (&totals)[Lots]) {
  Lanes v;
  for (Lanes& total : totals) total = Lanes{};
  for (size_t row = 0; row < count; ++row) {
#pragma GCC unroll 4
    for (size_t i = 0; i < Lots; ++i) {
      load(v, rows + row * stride + i * kLanes16);
      totals[i] += v * weights[row];
    }
  }
  for (Lanes& total : totals) total *= factor;
}

}  // namespace

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
        __builtin_prefetch(keys + (p + kAhead) * stride + i);
        __builtin_prefetch(values + p * stride + i);
        load(q, query + i);
        load(v, keys + p * stride + i);
        total += q * v;
      }
      weights[p] = sum(total);
    }
    const float share = static_cast<float>(1 / exponentials(weights, positions, greatest(weights, positions)));
    float* const to = out + head * head_width;
    size_t i = 0;
    for (; i + 4 * kLanes16 <= head_width; i += 4 * kLanes16) {
      Lanes totals[4];
      mix(values + i, stride, weights, positions, share, totals);
      std::memcpy(to + i, totals, sizeof totals);
    }
    for (; i < head_width; i += kLanes16) {
      Lanes totals[1];
      mix(values + i, stride, weights, positions, share, totals);
      store_up_to(totals[0], to + i, head_width - i);
    }
  }
}

}  // namespace predictor
