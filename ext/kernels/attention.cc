// Fused multiply-adds, which CMakeLists.txt rules out, nearly double the speed of this; libtorch's products of
// matrices, before and after it, round by the instruction set as well.
#pragma GCC optimize("O3", "fp-contract=fast")

#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

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

// Four rows of four numbers as columns.
PREDICTOR_INLINE void transpose_four(const float* from, size_t from_step, float* to, size_t to_step) {
  using Four = Register128::Floats;
  Four a;
  Four b;
  Four c;
  Four d;
  load(a, from);
  load(b, from + from_step);
  load(c, from + 2 * from_step);
  load(d, from + 3 * from_step);
  const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Four cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  store(Four(__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5)), to);
  store(Four(__builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7)), to + to_step);
  store(Four(__builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5)), to + 2 * to_step);
  store(Four(__builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)), to + 3 * to_step);
}

// `rows` of `columns` numbers as columns.
PREDICTOR_INLINE void transpose(const float* from, size_t from_step, size_t rows, size_t columns, float* to,
                                size_t to_step) {
  const size_t whole_rows = rows / 4 * 4;
  const size_t whole_columns = columns / 4 * 4;
  for (size_t row = 0; row < whole_rows; row += 4) {
    for (size_t column = 0; column < whole_columns; column += 4) {
      transpose_four(from + row * from_step + column, from_step, to + column * to_step + row, to_step);
    }
  }
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = row < whole_rows ? whole_columns : 0; column < columns; ++column) {
      to[column * to_step + row] = from[row * from_step + column];
    }
  }
}

// Of the keys from `begin` to before `end` a block of queries sees some, of those from `common_begin` to before
// `common_end` each of its queries every one.
struct KeyRange {
  size_t begin;
  size_t end;
  size_t common_begin;
  size_t common_end;
};

// Of the first `seen` tokens of a text.
KeyRange keys_of(const AttentionShape& shape, size_t seen, size_t first, size_t count) {
  const size_t last = first + count - 1;
  KeyRange range{0, seen, 0, seen};
  if (shape.window > 0 && shape.window < std::max(seen, last + 1)) {
    range.begin = std::min(seen, first - std::min(first, shape.window));
    range.end = std::min(seen, last + shape.window + 1);
    range.common_begin = last - std::min(last, shape.window);
    range.common_end = std::min(seen, first + shape.window + 1);
  }
  if (shape.causal) {
    range.end = std::min(range.end, last + 1);
    range.common_end = std::min(range.common_end, first + 1);
  }
  range.common_begin = std::min(range.common_begin, range.end);
  range.common_end = std::max(range.common_end, range.common_begin);
  return range;
}

// A lane is a query here: softmax needs no sums across lanes, and keys and values are read as they lie.
template <typename Floats, size_t Vectors>
struct Queries {
  static constexpr size_t kCount = Vectors * kVectorSize;
  // As many sums as hide the latency of one, and fit the registers.
  static constexpr size_t kRows = std::is_same_v<Floats, Avx512Floats> ? 8 / Vectors : 4 / Vectors;

  size_t head_size;
  size_t length;
  const float* queries;  // [head_size][kCount]
  const float* keys;     // [length, rounded up to kRows][head_size]; what is beyond `length` may be anything
  const float* values;   // [length][head_size]
  float* weights;        // [length, rounded up to kRows][kCount]

  // Adds to `totals` each of `Rows` rows of `count` floats, `step` apart, times `count` times `Vectors` vectors.
  template <size_t Rows>
  PREDICTOR_INLINE static void multiply(const float* rows, size_t row_step, size_t step, const float* lanes,
                                        size_t count, Floats (&totals)[Rows][Vectors]) {
    for (size_t i = 0; i < count; ++i, lanes += kCount, rows += step) {
      Floats x[Vectors];
#pragma GCC unroll 2
      for (size_t v = 0; v < Vectors; ++v) load(x[v], lanes + v * kVectorSize);
#pragma GCC unroll 8
      for (size_t row = 0; row < Rows; ++row) {
        const float factor = rows[row * row_step];
#pragma GCC unroll 2
        for (size_t v = 0; v < Vectors; ++v) totals[row][v] += x[v] * factor;
      }
    }
  }

  // Of kRows keys.
  PREDICTOR_INLINE void score(size_t key) const {
    Floats totals[kRows][Vectors] = {};
    multiply(keys + key * head_size, head_size, 1, queries, head_size, totals);
#pragma GCC unroll 8
    for (size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
      for (size_t v = 0; v < Vectors; ++v) store(totals[row][v], weights + (key + row) * kCount + v * kVectorSize);
    }
  }

  PREDICTOR_INLINE void score() const {
    for (size_t key = 0; key < length; key += kRows) score(key);
  }

  PREDICTOR_INLINE void cap(float most) const {
    Floats x;
    for (size_t i = 0; i < length * kCount; i += kVectorSize) {
      load(x, weights + i);
      x *= 1 / most;
      hyperbolic_tangent(x);
      store(x * most, weights + i);
    }
  }

  // Hides the keys from `begin` to before `end` from the queries that may not see them. `offset`: the place of the
  // first key less that of the first query.
  PREDICTOR_INLINE void hide(size_t begin, size_t end, ptrdiff_t offset, const AttentionShape& shape) const {
    const auto all = static_cast<ptrdiff_t>(kCount);
    const auto most = static_cast<ptrdiff_t>(shape.window > 0 ? std::min<size_t>(shape.window, INT32_MAX) : INT32_MAX);
    for (size_t key = begin; key < end; ++key) {
      float* const scores = weights + key * kCount;
      const ptrdiff_t place = static_cast<ptrdiff_t>(key) + offset;
      std::fill_n(scores, std::clamp<ptrdiff_t>(shape.causal ? place : place - most, 0, all), -INFINITY);
      std::fill(scores + std::clamp<ptrdiff_t>(place + most + 1, 0, all), scores + kCount, -INFINITY);
    }
  }

  // Without the last step: `shares` is what each query's weights must be multiplied with. A query that sees no key has
  // weights of 0.
  PREDICTOR_INLINE void softmax(Floats (&shares)[Vectors]) const {
#pragma GCC unroll 2
    for (size_t v = 0; v < Vectors; ++v) {
      float* const column = weights + v * kVectorSize;
      Floats max;
      Floats x;
      Floats total{};
      load(max, column);
      for (size_t j = 1; j < length; ++j) {
        load(x, column + j * kCount);
        take_max(x, max, max);
      }
      take_max(Floats{} + std::numeric_limits<float>::lowest(), max, max);
      for (size_t j = 0; j < length; ++j) {
        load(x, column + j * kCount);
        x -= max;
        exponential(x);
        total += x;
        store(x, column + j * kCount);
      }
      take_max(Floats{} + std::numeric_limits<float>::min(), total, total);
      shares[v] = 1.0f / total;
    }
  }

  // `Rows` columns of `mixed` [head_size][kCount]: the values, by their weights.
  template <size_t Rows>
  PREDICTOR_INLINE void mix(size_t column, const Floats (&shares)[Vectors], float* mixed) const {
    Floats totals[Rows][Vectors] = {};
    multiply(values + column, 1, head_size, weights, length, totals);
#pragma GCC unroll 8
    for (size_t row = 0; row < Rows; ++row) {
#pragma GCC unroll 2
      for (size_t v = 0; v < Vectors; ++v) {
        store(totals[row][v] * shares[v], mixed + (column + row) * kCount + v * kVectorSize);
      }
    }
  }

  PREDICTOR_INLINE void mix(const Floats (&shares)[Vectors], float* mixed) const {
    size_t column = 0;
    for (; column + kRows <= head_size; column += kRows) mix<kRows>(column, shares, mixed);
    for (; column < head_size; ++column) mix<1>(column, shares, mixed);
  }
};

// A text's heads. `qkv` and `out` are the text's; the other memory is for one head at a time.
template <typename Number>
struct Text {
  const AttentionShape& shape;
  const ScoreBias* bias;
  const Number* qkv;
  size_t length;
  size_t seen;  // of its tokens, the first ones
  float* queries;
  float* keys;
  float* values;
  float* weights;
  float* out;

  size_t token_size() const { return (shape.heads + 2 * shape.kv_heads) * shape.head_size; }

  PREDICTOR_INLINE void unpack(size_t kv_head) const {
    const size_t head_size = shape.head_size;
    const Number* token = qkv + (shape.heads + kv_head) * head_size;
    for (size_t j = 0; j < seen; ++j, token += token_size()) {
      for (size_t i = 0; i < head_size; ++i) keys[j * head_size + i] = to_float(token[i]);
      for (size_t i = 0; i < head_size; ++i) {
        values[j * head_size + i] = to_float(token[shape.kv_heads * head_size + i]);
      }
    }
  }

  // `count` queries as columns of `step`, the others being 0.
  PREDICTOR_INLINE void load_queries(const Number* from, size_t count, size_t step) const {
    const size_t size = shape.head_size * step;
    if (count < step) std::fill_n(queries, size, 0.0f);
    if constexpr (std::is_same_v<Number, float>) {
      transpose(from, token_size(), count, shape.head_size, queries, step);
    } else {
      for (size_t query = 0; query < count; ++query, from += token_size()) {
        for (size_t i = 0; i < shape.head_size; ++i) queries[i * step + query] = to_float(from[i]);
      }
    }
    for (size_t i = 0; i < size; ++i) queries[i] *= shape.scale;
  }

  template <typename Floats, size_t Vectors>
  PREDICTOR_INLINE void attend(size_t head, size_t first) const {
    constexpr size_t kCount = Queries<Floats, Vectors>::kCount;
    const size_t count = std::min(kCount, length - first);
    const size_t head_size = shape.head_size;
    load_queries(qkv + first * token_size() + head * head_size, count, kCount);
    const KeyRange range = keys_of(shape, seen, first, count);
    const size_t begin = range.begin;
    const size_t row_size = shape.heads * head_size;
    float* const to = out + first * row_size + head * head_size;
    if (begin == range.end) {
      for (size_t query = 0; query < count; ++query) std::fill_n(to + query * row_size, head_size, 0.0f);
      return;
    }
    const Queries<Floats, Vectors> block{
        head_size, range.end - begin, queries, keys + begin * head_size, values + begin * head_size, weights};
    block.score();
    if (shape.soft_cap > 0) block.cap(shape.soft_cap);
    if (bias != nullptr) bias->add(head, first, count, begin, range.end, kCount, weights);
    const auto offset = static_cast<ptrdiff_t>(begin) - static_cast<ptrdiff_t>(first);
    block.hide(0, range.common_begin - begin, offset, shape);
    block.hide(range.common_end - begin, range.end - begin, offset, shape);
    Floats shares[Vectors];
    block.softmax(shares);
    float* const mixed = queries;  // which nobody needs any more
    block.mix(shares, mixed);
    transpose(mixed, kCount, head_size, count, to, row_size);
  }
};

// All heads that share keys and values.
struct Attend {
  template <typename Floats, typename Number>
  PREDICTOR_INLINE static void run(const Text<Number>& text, size_t kv_head) {
    text.unpack(kv_head);
    const size_t sharing = text.shape.heads / text.shape.kv_heads;
    for (size_t head = kv_head * sharing; head < (kv_head + 1) * sharing; ++head) {
      size_t first = 0;
      if constexpr (std::is_same_v<Floats, Avx512Floats>) {  // the others have no registers for two vectors
        for (; first + kVectorSize < text.length; first += 2 * kVectorSize) {
          text.template attend<Floats, 2>(head, first);
        }
      }
      for (; first < text.length; first += kVectorSize) text.template attend<Floats, 1>(head, first);
    }
  }
};

}  // namespace

template <typename Number>
void TextAttention::attend_head(const Number* qkv, size_t length, size_t kv_head, float* out, const ScoreBias* bias,
                                size_t seen) {
  constexpr size_t kQueries = 2 * kVectorSize;  // at once
  const size_t rows = padded_to_vector(length) + kVectorSize;
  keys_.resize(std::max(keys_.size(), rows * shape_.head_size));
  values_.resize(keys_.size());
  weights_.resize(std::max(weights_.size(), rows * kQueries));
  queries_.resize(shape_.head_size * kQueries);
  const Text<Number> text{
      shape_,          bias, qkv, length, std::min(seen, length), queries_.data(), keys_.data(), values_.data(),
      weights_.data(), out};
  dispatch<Attend, const Text<Number>&>(text, kv_head);
}

template void TextAttention::attend_head(const float* qkv, size_t length, size_t kv_head, float* out,
                                         const ScoreBias* bias, size_t seen);
template void TextAttention::attend_head(const uint16_t* qkv, size_t length, size_t kv_head, float* out,
                                         const ScoreBias* bias, size_t seen);

}  // namespace predictor::kernels
