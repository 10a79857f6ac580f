#include "kernels/kv_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/activations.h"
#include "kernels/simd.h"

namespace predictor::kernels {

void store_kv(const KvCache& cache, size_t position, size_t heads, size_t head_size, const float* keys,
              const float* values) {
  const size_t row_size = padded_to_vector(head_size);
  for (size_t head = 0; head < heads; ++head) {
    const size_t at = (head * cache.context_length + position) * row_size;
    std::copy_n(keys + head * head_size, head_size, cache.keys + at);
    std::copy_n(values + head * head_size, head_size, cache.values + at);
    std::fill(cache.keys + at + head_size, cache.keys + at + row_size, 0.0f);
    std::fill(cache.values + at + head_size, cache.values + at + row_size, 0.0f);
  }
}

namespace {

constexpr size_t kAhead = 8;  // positions: a cache is larger than the processor's own

// The weighted sum of `Lots` times 16 columns of `rows`, which are `row_size` apart: as many chains of additions at
// once.
template <size_t Lots, typename Floats>
PREDICTOR_INLINE void mix(const float* rows, size_t row_size, const float* weights, size_t count, float factor,
                          Floats (&totals)[Lots]) {
  Floats v;
#pragma GCC unroll 4
  for (size_t i = 0; i < Lots; ++i) totals[i] = Floats{};
  for (size_t row = 0; row < count; ++row) {
#pragma GCC unroll 4
    for (size_t i = 0; i < Lots; ++i) {
      load(v, rows + row * row_size + i * kVectorSize);
      totals[i] += v * weights[row];
    }
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < Lots; ++i) totals[i] *= factor;
}

struct Attend {
  template <typename Floats>
  PREDICTOR_INLINE static void run(const KvCache& cache, size_t position, size_t heads, size_t head_size,
                                   const float* queries, float* scratch, float* out) {
    const size_t row_size = padded_to_vector(head_size);
    const size_t positions = position + 1;
    float* const weights = scratch;
    float* const query = scratch + padded_to_vector(cache.context_length);
    const float factor = 1 / std::sqrt(static_cast<float>(head_size));
    Floats q;
    Floats v;
    for (size_t head = 0; head < heads; ++head) {
      const float* const keys = cache.keys + head * cache.context_length * row_size;
      const float* const values = cache.values + head * cache.context_length * row_size;
      for (size_t i = 0; i < row_size; ++i) query[i] = i < head_size ? queries[head * head_size + i] * factor : 0;
      for (size_t p = 0; p < positions; ++p) {
        Floats total{};
        for (size_t i = 0; i < row_size; i += kVectorSize) {
          __builtin_prefetch(keys + (p + kAhead) * row_size + i);
          __builtin_prefetch(values + p * row_size + i);
          load(q, query + i);
          load(v, keys + p * row_size + i);
          total += q * v;
        }
        weights[p] = sum(total);
      }
      const float share = static_cast<float>(1 / exp_sum(weights, positions, max_value(weights, positions)));
      float* const to = out + head * head_size;
      size_t i = 0;
      for (; i + 4 * kVectorSize <= head_size; i += 4 * kVectorSize) {
        Floats totals[4];
        mix(values + i, row_size, weights, positions, share, totals);
#pragma GCC unroll 4
        for (size_t lot = 0; lot < 4; ++lot) store(totals[lot], to + i + lot * kVectorSize);
      }
      for (; i < head_size; i += kVectorSize) {
        Floats totals[1];
        mix(values + i, row_size, weights, positions, share, totals);
        store_up_to(totals[0], to + i, head_size - i);
      }
    }
  }
};

}  // namespace

void attend(const KvCache& cache, size_t position, size_t heads, size_t head_size, const float* queries, float* scratch,
            float* out) {
  dispatch<Attend, const KvCache&>(cache, position, heads, head_size, queries, scratch, out);
}

}  // namespace predictor::kernels
