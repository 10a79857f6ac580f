// Fused multiply-adds: see attention.cc.
#pragma GCC optimize("O3", "fp-contract=fast")

#include "kernels/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/activations.h"
#include "kernels/bfloat16.h"
#include "kernels/simd.h"

namespace predictor::kernels {

static_assert(kPageTokens == kVectorSize);

namespace {

constexpr size_t kBlockRows = 8;  // queries that are answered at once

template <typename Floats>
PREDICTOR_INLINE void load_numbers(Floats& lanes, const float* from) {
  load(lanes, from);
}
template <typename Floats>
PREDICTOR_INLINE void load_numbers(Floats& lanes, const uint16_t* bfloat16) {
  typename LanesOf<Floats>::Halves halves;
  typename LanesOf<Floats>::Words words;
  load(halves, bfloat16);
  convert(halves, words);
  words = words << 16;
  reinterpret(words, lanes);
}

// Of one head: the keys [head_size][kPageTokens], then the values [kPageTokens][head_size in whole vectors].
size_t head_numbers(const AttentionShape& shape) {
  return kPageTokens * (shape.head_size + padded_to_vector(shape.head_size));
}

// The keys and values of one head, and the weights of a block of queries.
template <typename Floats, typename Number>
struct Block {
  // As many sums as hide the latency of one, and fit the registers.
  static constexpr bool kWide = std::is_same_v<Floats, Avx512Floats>;
  static constexpr size_t kScores = kWide ? 8 : 4;
  static constexpr size_t kMixedRows = kWide ? 4 : 2;
  static constexpr size_t kMixedVectors = kWide ? 4 : 2;

  const Number* const* pages;
  size_t offset;  // of the head in a page
  size_t head_size;
  const float* queries;  // [rows][head_size]
  float* weights;        // [rows][stride]
  size_t stride;
  size_t first_page;  // that weights[0] is of

  const Number* keys(size_t page) const { return pages[page] + offset; }
  const Number* values(size_t page) const { return pages[page] + offset + kPageTokens * head_size; }

  template <size_t Rows, size_t Pages>
  PREDICTOR_INLINE void score(size_t row, size_t page) const {
    Floats totals[Rows][Pages] = {};
    const Number* from[Pages];
#pragma GCC unroll 8
    for (size_t p = 0; p < Pages; ++p) from[p] = keys(page + p);
    const float* const query = queries + row * head_size;
    for (size_t i = 0; i < head_size; ++i) {
      Floats x[Pages];
#pragma GCC unroll 8
      for (size_t p = 0; p < Pages; ++p) load_numbers(x[p], from[p] + i * kPageTokens);
#pragma GCC unroll 8
      for (size_t r = 0; r < Rows; ++r) {
        const float factor = query[r * head_size + i];
#pragma GCC unroll 8
        for (size_t p = 0; p < Pages; ++p) totals[r][p] += x[p] * factor;
      }
    }
    float* const to = weights + row * stride + (page - first_page) * kPageTokens;
#pragma GCC unroll 8
    for (size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
      for (size_t p = 0; p < Pages; ++p) store(totals[r][p], to + r * stride + p * kPageTokens);
    }
  }

  template <size_t Rows>
  PREDICTOR_INLINE void score_rows(size_t row, size_t end_page) const {
    constexpr size_t kPages = kScores / Rows;
    size_t page = first_page;
    for (; page + kPages <= end_page; page += kPages) score<Rows, kPages>(row, page);
    if constexpr (kPages > 1) {
      for (; page < end_page; ++page) score<Rows, 1>(row, page);
    }
  }

  PREDICTOR_INLINE void score(size_t rows, size_t end_page) const {
    size_t row = 0;
    if constexpr (kScores >= 8) {
      for (; row + 8 <= rows; row += 8) score_rows<8>(row, end_page);
    }
    for (; row + 4 <= rows; row += 4) score_rows<4>(row, end_page);
    for (; row + 2 <= rows; row += 2) score_rows<2>(row, end_page);
    for (; row < rows; ++row) score_rows<1>(row, end_page);
  }

  // The values of the keys from `begin` to before `end`, by their weights: `Vectors` vectors from `column` on.
  template <size_t Rows, size_t Vectors>
  PREDICTOR_INLINE void mix(size_t row, size_t column, size_t begin, size_t end,
                            Floats (&totals)[Rows][Vectors]) const {
    const size_t row_size = padded_to_vector(head_size);
    const float* const weight = weights + row * stride - first_page * kPageTokens;
#pragma GCC unroll 4
    for (size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (size_t v = 0; v < Vectors; ++v) totals[r][v] = Floats{};
    }
    for (size_t key = begin; key < end;) {
      const size_t page = key / kPageTokens;
      const size_t page_end = std::min(end, (page + 1) * kPageTokens);
      const Number* from = values(page) + key % kPageTokens * row_size + column;
      for (; key < page_end; ++key, from += row_size) {
        Floats x[Vectors];
#pragma GCC unroll 4
        for (size_t v = 0; v < Vectors; ++v) load_numbers(x[v], from + v * kVectorSize);
#pragma GCC unroll 4
        for (size_t r = 0; r < Rows; ++r) {
          const float factor = weight[r * stride + key];
#pragma GCC unroll 4
          for (size_t v = 0; v < Vectors; ++v) totals[r][v] += x[v] * factor;
        }
      }
    }
  }

  template <size_t Rows>
  PREDICTOR_INLINE void mix_rows(size_t row, size_t begin, size_t end, const float* shares, float* const* out) const {
    size_t column = 0;
    for (; column + kMixedVectors * kVectorSize <= head_size; column += kMixedVectors * kVectorSize) {
      Floats totals[Rows][kMixedVectors];
      mix<Rows, kMixedVectors>(row, column, begin, end, totals);
#pragma GCC unroll 4
      for (size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
        for (size_t v = 0; v < kMixedVectors; ++v) {
          store(totals[r][v] * shares[row + r], out[row + r] + column + v * kVectorSize);
        }
      }
    }
    for (; column < head_size; column += kVectorSize) {
      Floats totals[Rows][1];
      mix<Rows, 1>(row, column, begin, end, totals);
#pragma GCC unroll 4
      for (size_t r = 0; r < Rows; ++r) {
        store_up_to(totals[r][0] * shares[row + r], out[row + r] + column, head_size - column);
      }
    }
  }

  PREDICTOR_INLINE void mix(size_t rows, size_t begin, size_t end, const float* shares, float* const* out) const {
    size_t row = 0;
    if constexpr (kMixedRows >= 4) {
      for (; row + 4 <= rows; row += 4) mix_rows<4>(row, begin, end, shares, out);
    }
    for (; row + 2 <= rows; row += 2) mix_rows<2>(row, begin, end, shares, out);
    for (; row < rows; ++row) mix_rows<1>(row, begin, end, shares, out);
  }
};

template <typename Floats>
PREDICTOR_INLINE void cap(float* scores, size_t size, float most) {
  Floats x;
  for (size_t i = 0; i < size; i += kVectorSize) {
    load_up_to(x, scores + i, size - i, 0.0f);
    x *= 1 / most;
    hyperbolic_tangent(x);
    store_up_to(x * most, scores + i, size - i);
  }
}

struct Attend {
  template <typename Floats, typename Number>
  PREDICTOR_INLINE static void run(const AttentionShape& shape, const float* slopes, const PagedQueries<Number>& asked,
                                   size_t kv_head, float* queries, std::vector<float>& weights) {
    const size_t head_size = shape.head_size;
    const size_t sharing = shape.heads / shape.kv_heads;
    const size_t all_rows = asked.count * sharing;
    const auto begin_of = [&](size_t position) {
      return shape.window > 0 && position > shape.window ? position - shape.window : 0;
    };
    for (size_t first = 0; first < all_rows; first += kBlockRows) {
      const size_t rows = std::min(kBlockRows, all_rows - first);
      float* out[kBlockRows];
      float shares[kBlockRows];
      for (size_t row = 0; row < rows; ++row) {
        const size_t token = (first + row) / sharing;
        const size_t at = (kv_head * sharing + (first + row) % sharing) * head_size;
        const float* const from = asked.queries + token * asked.query_step + at;
        for (size_t i = 0; i < head_size; ++i) queries[row * head_size + i] = from[i] * shape.scale;
        out[row] = asked.out + token * asked.out_step + at;
      }
      const size_t begin = begin_of(asked.first + first / sharing);
      const size_t end = asked.first + (first + rows - 1) / sharing + 1;
      const size_t first_page = begin / kPageTokens;
      const size_t end_page = (end + kPageTokens - 1) / kPageTokens;
      const size_t stride = (end_page - first_page) * kPageTokens;
      weights.resize(std::max(weights.size(), rows * stride));
      const Block<Floats, Number> block{
          asked.pages, kv_head * head_numbers(shape), head_size, queries, weights.data(), stride, first_page};
      block.score(rows, end_page);
      for (size_t row = 0; row < rows; ++row) {
        float* const of_row = weights.data() + row * stride - first_page * kPageTokens;
        const size_t position = asked.first + (first + row) / sharing;
        float* const seen = of_row + begin_of(position);
        const size_t count = position + 1 - begin_of(position);
        if (shape.soft_cap > 0) cap<Floats>(seen, count, shape.soft_cap);
        if (slopes != nullptr) {
          const float slope = slopes[kv_head * sharing + (first + row) % sharing];
          for (size_t i = 0; i < count; ++i) seen[i] += slope * static_cast<float>(begin_of(position) + i);
        }
        shares[row] = static_cast<float>(1 / exp_sum(seen, count, max_value(seen, count)));
        std::fill(of_row + begin, seen, 0.0f);
        std::fill(seen + count, of_row + end, 0.0f);
      }
      block.mix(rows, begin, end, shares, out);
    }
  }
};

void put(float from, float& to) {
  to = from;
}
void put(float from, uint16_t& to) {
  float_to_bfloat16(&from, 1, &to);
}

}  // namespace

size_t page_numbers(const AttentionShape& shape) {
  return shape.kv_heads * head_numbers(shape);
}

template <typename Number>
void store_kv(const AttentionShape& shape, const float* keys, const float* values, size_t slot, Number* page) {
  const size_t head_size = shape.head_size;
  const size_t row_size = padded_to_vector(head_size);
  for (size_t head = 0; head < shape.kv_heads; ++head, page += head_numbers(shape)) {
    Number* const row = page + kPageTokens * head_size + slot * row_size;
    for (size_t i = 0; i < head_size; ++i) put(keys[head * head_size + i], page[i * kPageTokens + slot]);
    for (size_t i = 0; i < head_size; ++i) put(values[head * head_size + i], row[i]);
  }
}

template <typename Number>
void PagedAttention::attend(const PagedQueries<Number>& asked, size_t kv_head) {
  queries_.resize(kBlockRows * shape_.head_size);
  dispatch<Attend, const AttentionShape&, const float*, const PagedQueries<Number>&, size_t, float*,
           std::vector<float>&>(shape_, slopes_, asked, kv_head, queries_.data(), weights_);
}

template void store_kv(const AttentionShape& shape, const float* keys, const float* values, size_t slot, float* page);
template void store_kv(const AttentionShape& shape, const float* keys, const float* values, size_t slot,
                       uint16_t* page);
template void PagedAttention::attend(const PagedQueries<float>& asked, size_t kv_head);
template void PagedAttention::attend(const PagedQueries<uint16_t>& asked, size_t kv_head);

}  // namespace predictor::kernels
