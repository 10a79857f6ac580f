// Fused multiply-adds, which CMakeLists.txt rules out, nearly double the speed of this; libtorch's products of
// matrices, before and after it, round by the instruction set as well.
#pragma GCC optimize("O3", "fp-contract=fast")

#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/simd.h"

namespace predictor {

namespace {

PREDICTOR_INLINE float number(float from) {
  return from;
}
PREDICTOR_INLINE float number(uint16_t bfloat16) {
  const uint32_t bits = static_cast<uint32_t>(bfloat16) << 16;
  float to;
  std::memcpy(&to, &bits, sizeof to);
  return to;
}

// Each of `Rows` rows of `count` floats, `step` apart, times `count` times `Vectors` vectors of lanes.
template <size_t Rows, size_t Vectors>
PREDICTOR_INLINE void multiply(const float* rows, size_t row_step, size_t step, const float* lanes, size_t count,
                               Lanes (&totals)[Rows][Vectors]) {
  for (size_t row = 0; row < Rows; ++row) {
    for (size_t v = 0; v < Vectors; ++v) totals[row][v] = Lanes{};
  }
  for (size_t i = 0; i < count; ++i, lanes += Vectors * kLanes16) {
    Lanes x[Vectors];
    for (size_t v = 0; v < Vectors; ++v) load(x[v], lanes + v * kLanes16);
    for (size_t row = 0; row < Rows; ++row) {
      const float factor = rows[row * row_step + i * step];
      for (size_t v = 0; v < Vectors; ++v) totals[row][v] += x[v] * factor;
    }
  }
}

// A lane is a query here: softmax needs no sums across lanes, and keys and values are read as they lie.
template <size_t Vectors>
struct Queries {
  static constexpr size_t kCount = Vectors * kLanes16;
  static constexpr size_t kRows = 8 / Vectors;  // as many sums as hide the latency of one

  size_t width;
  size_t length;
  const float* queries;  // [width][kCount]
  const float* keys;     // [length, rounded up to kRows][width]; what is beyond `length` may be anything
  const float* values;   // [length][width]
  float* weights;        // [length, rounded up to kRows][kCount]

  PREDICTOR_INLINE void softmax() const {
    for (size_t v = 0; v < Vectors; ++v) {
      float* const column = weights + v * kLanes16;
      Lanes most;
      Lanes x;
      Lanes total{};
      load(most, column);
      for (size_t j = 1; j < length; ++j) {
        load(x, column + j * kCount);
        most = x > most ? x : most;
      }
      for (size_t j = 0; j < length; ++j) {
        load(x, column + j * kCount);
        x -= most;
        exponential(x);
        total += x;
        store(x, column + j * kCount);
      }
      total = 1.0f / total;
      for (size_t j = 0; j < length; ++j) {
        load(x, column + j * kCount);
        x *= total;
        store(x, column + j * kCount);
      }
    }
  }

  // Of kRows keys.
  PREDICTOR_INLINE void score(size_t key) const {
    Lanes totals[kRows][Vectors];
    multiply(keys + key * width, width, 1, queries, width, totals);
    std::memcpy(weights + key * kCount, totals, sizeof totals);
  }

  template <size_t Rows>
  PREDICTOR_INLINE void mix(size_t column, size_t count, float* out, size_t stride) const {
    Lanes totals[Rows][Vectors];
    multiply(values + column, 1, width, weights, length, totals);
    float numbers[Rows][kCount];
    std::memcpy(numbers, totals, sizeof totals);
    for (size_t query = 0; query < count; ++query) {
      for (size_t row = 0; row < Rows; ++row) out[query * stride + column + row] = numbers[row][query];
    }
  }

  // `count` of the queries, the others being of no interest; a query's row in `out` is `stride` floats.
  PREDICTOR_INLINE void attend(size_t count, float* out, size_t stride) const {
    for (size_t key = 0; key < length; key += kRows) score(key);
    softmax();
    size_t column = 0;
    for (; column + kRows <= width; column += kRows) mix<kRows>(column, count, out, stride);
    for (; column < width; ++column) mix<1>(column, count, out, stride);
  }
};

// All queries of a head. `qkv` and `out` begin at the head's; a token's rows are 3 * hidden and hidden long.
struct Head {
  size_t width;
  size_t hidden;
  size_t length;
  float* queries;
  float* keys;
  float* values;
  float* weights;

  template <typename Number>
  PREDICTOR_INLINE void unpack(const Number* qkv) const {
    for (size_t j = 0; j < length; ++j) {
      const Number* const token = qkv + j * 3 * hidden;
      for (size_t i = 0; i < width; ++i) keys[j * width + i] = number(token[hidden + i]);
      for (size_t i = 0; i < width; ++i) values[j * width + i] = number(token[2 * hidden + i]);
    }
  }

  template <size_t Vectors, typename Number>
  PREDICTOR_INLINE void attend(const Number* qkv, size_t first, float* out) const {
    constexpr size_t kCount = Queries<Vectors>::kCount;
    const size_t count = std::min(kCount, length - first);
    const float factor = 1 / std::sqrt(static_cast<float>(width));
    std::fill_n(queries, width * kCount, 0.0f);
    for (size_t query = 0; query < count; ++query) {
      const Number* const token = qkv + (first + query) * 3 * hidden;
      for (size_t i = 0; i < width; ++i) queries[i * kCount + query] = number(token[i]) * factor;
    }
    const Queries<Vectors> block{width, length, queries, keys, values, weights};
    block.attend(count, out + first * hidden, hidden);
  }
};

template <typename Number>
PREDICTOR_INLINE void attend_all(const Head& head, const Number* qkv, float* out) {
  head.unpack(qkv);
  size_t first = 0;
  for (; first + kLanes16 < head.length; first += 2 * kLanes16) head.attend<2>(qkv, first, out);
  if (first < head.length) head.attend<1>(qkv, first, out);
}

PREDICTOR_CLONES void attend_head(const Head& head, const float* qkv, float* out) {
  attend_all(head, qkv, out);
}
PREDICTOR_CLONES void attend_head(const Head& head, const uint16_t* qkv, float* out) {
  attend_all(head, qkv, out);
}

}  // namespace

template <typename Number>
void TextAttention::attend(const Number* qkv, size_t length, float* out) {
  constexpr size_t kQueries = 2 * kLanes16;  // at once
  const size_t rows = padded_to_lanes(length);
  keys_.resize(std::max(keys_.size(), rows * head_width_));
  values_.resize(keys_.size());
  weights_.resize(std::max(weights_.size(), rows * kQueries));
  queries_.resize(head_width_ * kQueries);
  const Head head{head_width_,  heads_ * head_width_, length,         queries_.data(),
                  keys_.data(), values_.data(),       weights_.data()};
  for (size_t i = 0; i < heads_; ++i) attend_head(head, qkv + i * head_width_, out + i * head_width_);
}

template void TextAttention::attend(const float* qkv, size_t length, float* out);
template void TextAttention::attend(const uint16_t* qkv, size_t length, float* out);

}  // namespace predictor
