// Fused multiply-adds, which CMakeLists.txt rules out, nearly double the speed of this; libtorch's products of
// matrices, before and after it, round by the instruction set as well.
#pragma GCC optimize("O3", "fp-contract=fast")

#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

PREDICTOR_INLINE float to_float(float from) {
  return from;
}
PREDICTOR_INLINE float to_float(uint16_t bfloat16) {
  const uint32_t bits = static_cast<uint32_t>(bfloat16) << 16;
  float to;
  std::memcpy(&to, &bits, sizeof to);
  return to;
}

// Each of `Rows` rows of `count` floats, `step` apart, times `count` times `Vectors` vectors of lanes.
template <size_t Rows, size_t Vectors>
PREDICTOR_INLINE void multiply(const float* rows, size_t row_step, size_t step, const float* lanes, size_t count,
                               Floats (&totals)[Rows][Vectors]) {
  for (size_t row = 0; row < Rows; ++row) {
    for (size_t v = 0; v < Vectors; ++v) totals[row][v] = Floats{};
  }
  for (size_t i = 0; i < count; ++i, lanes += Vectors * kVectorSize) {
    Floats x[Vectors];
    for (size_t v = 0; v < Vectors; ++v) load(x[v], lanes + v * kVectorSize);
    for (size_t row = 0; row < Rows; ++row) {
      const float factor = rows[row * row_step + i * step];
      for (size_t v = 0; v < Vectors; ++v) totals[row][v] += x[v] * factor;
    }
  }
}

// A lane is a query here: softmax needs no sums across lanes, and keys and values are read as they lie.
template <size_t Vectors>
struct Queries {
  static constexpr size_t kCount = Vectors * kVectorSize;
  static constexpr size_t kRows = 8 / Vectors;  // as many sums as hide the latency of one

  size_t head_size;
  size_t length;
  const float* queries;  // [head_size][kCount]
  const float* keys;     // [length, rounded up to kRows][head_size]; what is beyond `length` may be anything
  const float* values;   // [length][head_size]
  float* weights;        // [length, rounded up to kRows][kCount]

  PREDICTOR_INLINE void softmax() const {
    for (size_t v = 0; v < Vectors; ++v) {
      float* const column = weights + v * kVectorSize;
      Floats max;
      Floats x;
      Floats total{};
      load(max, column);
      for (size_t j = 1; j < length; ++j) {
        load(x, column + j * kCount);
        max = x > max ? x : max;
      }
      for (size_t j = 0; j < length; ++j) {
        load(x, column + j * kCount);
        x -= max;
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
    Floats totals[kRows][Vectors];
    multiply(keys + key * head_size, head_size, 1, queries, head_size, totals);
    std::memcpy(weights + key * kCount, totals, sizeof totals);
  }

  template <size_t Rows>
  PREDICTOR_INLINE void mix(size_t column, size_t count, float* out, size_t stride) const {
    Floats totals[Rows][Vectors];
    multiply(values + column, 1, head_size, weights, length, totals);
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
    for (; column + kRows <= head_size; column += kRows) mix<kRows>(column, count, out, stride);
    for (; column < head_size; ++column) mix<1>(column, count, out, stride);
  }
};

// All queries of a head. `qkv` and `out` begin at the head's; a token's rows are 3 * hidden_size and hidden_size long.
struct Head {
  size_t head_size;
  size_t hidden_size;
  size_t length;
  float* queries;
  float* keys;
  float* values;
  float* weights;

  template <typename Number>
  PREDICTOR_INLINE void unpack(const Number* qkv) const {
    for (size_t j = 0; j < length; ++j) {
      const Number* const token = qkv + j * 3 * hidden_size;
      for (size_t i = 0; i < head_size; ++i) keys[j * head_size + i] = to_float(token[hidden_size + i]);
      for (size_t i = 0; i < head_size; ++i) values[j * head_size + i] = to_float(token[2 * hidden_size + i]);
    }
  }

  template <size_t Vectors, typename Number>
  PREDICTOR_INLINE void attend(const Number* qkv, size_t first, float* out) const {
    constexpr size_t kCount = Queries<Vectors>::kCount;
    const size_t count = std::min(kCount, length - first);
    const float factor = 1 / std::sqrt(static_cast<float>(head_size));
    std::fill_n(queries, head_size * kCount, 0.0f);
    for (size_t query = 0; query < count; ++query) {
      const Number* const token = qkv + (first + query) * 3 * hidden_size;
      for (size_t i = 0; i < head_size; ++i) queries[i * kCount + query] = to_float(token[i]) * factor;
    }
    const Queries<Vectors> block{head_size, length, queries, keys, values, weights};
    block.attend(count, out + first * hidden_size, hidden_size);
  }
};

template <typename Number>
PREDICTOR_INLINE void attend_all(const Head& head, const Number* qkv, float* out) {
  head.unpack(qkv);
  size_t first = 0;
  for (; first + kVectorSize < head.length; first += 2 * kVectorSize) head.attend<2>(qkv, first, out);
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
  constexpr size_t kQueries = 2 * kVectorSize;  // at once
  const size_t rows = padded_to_vector(length);
  keys_.resize(std::max(keys_.size(), rows * head_size_));
  values_.resize(keys_.size());
  weights_.resize(std::max(weights_.size(), rows * kQueries));
  queries_.resize(head_size_ * kQueries);
  const Head head{head_size_,   heads_ * head_size_, length,         queries_.data(),
                  keys_.data(), values_.data(),      weights_.data()};
  for (size_t i = 0; i < heads_; ++i) attend_head(head, qkv + i * head_size_, out + i * head_size_);
}

template void TextAttention::attend(const float* qkv, size_t length, float* out);
template void TextAttention::attend(const uint16_t* qkv, size_t length, float* out);

}  // namespace predictor::kernels
