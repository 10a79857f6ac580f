#include "kernels/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "check.h"
#include "kernels/bfloat16.h"

namespace predictor::tests {

namespace {

using kernels::AttentionShape;
using kernels::kPageTokens;
using Rows = std::vector<std::vector<float>>;

struct Case {
  AttentionShape shape;
  size_t length;
  bool sloped = false;
};

// A sequence of one layer, its pages not in their order in memory, what is not written NaN.
template <typename Number>
struct Sequence {
  explicit Sequence(const Case& tried) : shape(tried.shape) {
    const size_t count = (tried.length + kPageTokens - 1) / kPageTokens;
    for (size_t i = 0; i < count; ++i) {
      memory.emplace_back(kernels::page_numbers(shape));
      std::memset(memory.back().data(), 0xff, memory.back().size() * sizeof(Number));
    }
    for (size_t i = 0; i < count; ++i) pages.push_back(memory[(i * 7 + 3) % count].data());
    if (count % 7 == 0) {
      for (size_t i = 0; i < count; ++i) pages[i] = memory[i].data();
    }
    for (size_t i = 0; i < tried.length; ++i) {
      queries.push_back(random_floats(shape.heads * shape.head_size));
      keys.push_back(rounded(random_floats(shape.kv_heads * shape.head_size)));
      values.push_back(rounded(random_floats(shape.kv_heads * shape.head_size)));
    }
    if (tried.sloped) slopes = random_floats(shape.heads, 0.1f);
  }

  static std::vector<float> rounded(std::vector<float> numbers) {
    if (std::is_same_v<Number, float>) return numbers;
    std::vector<uint16_t> bits(numbers.size());
    kernels::float_to_bfloat16(numbers.data(), numbers.size(), bits.data());
    kernels::bfloat16_to_float(bits.data(), bits.size(), numbers.data());
    return numbers;
  }

  // The tokens from `first` on, stored and asked about at once.
  std::vector<float> read(size_t first, size_t count) {
    const size_t width = shape.heads * shape.head_size;
    std::vector<float> asked;
    for (size_t i = first; i < first + count; ++i) {
      kernels::store_kv(shape, keys[i].data(), values[i].data(), i % kPageTokens, pages[i / kPageTokens]);
      asked.insert(asked.end(), queries[i].begin(), queries[i].end());
    }
    std::vector<float> out(count * width);
    kernels::PagedAttention attention(shape, slopes.empty() ? nullptr : slopes.data());
    for (size_t head = 0; head < shape.kv_heads; ++head) {
      attention.attend<Number>({pages.data(), first, count, asked.data(), width, out.data(), width}, head);
    }
    return out;
  }

  const AttentionShape shape;
  std::vector<std::vector<Number>> memory;
  std::vector<Number*> pages;
  Rows queries;
  Rows keys;
  Rows values;
  std::vector<float> slopes;
};

// One token's query against the keys and values that it sees, in double precision.
template <typename Number>
std::vector<double> plain_attention(const Sequence<Number>& sequence, size_t position) {
  const AttentionShape& shape = sequence.shape;
  std::vector<double> out(shape.heads * shape.head_size, 0);
  const size_t begin = shape.window > 0 && position > shape.window ? position - shape.window : 0;
  for (size_t head = 0; head < shape.heads; ++head) {
    const size_t at = head * shape.head_size;
    const size_t kv_at = head / (shape.heads / shape.kv_heads) * shape.head_size;
    std::vector<double> scores;
    for (size_t key = begin; key <= position; ++key) {
      double score = 0;
      for (size_t i = 0; i < shape.head_size; ++i) {
        score += static_cast<double>(sequence.queries[position][at + i]) *
                 static_cast<double>(sequence.keys[key][kv_at + i]);
      }
      score *= static_cast<double>(shape.scale);
      const auto most = static_cast<double>(shape.soft_cap);
      if (most > 0) score = most * std::tanh(score / most);
      if (!sequence.slopes.empty()) score += static_cast<double>(sequence.slopes[head]) * static_cast<double>(key);
      scores.push_back(score);
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - max);
    for (size_t i = 0; i < scores.size(); ++i) {
      for (size_t column = 0; column < shape.head_size; ++column) {
        out[at + column] += scores[i] / total * static_cast<double>(sequence.values[begin + i][kv_at + column]);
      }
    }
  }
  return out;
}

template <typename Number>
void test_case(const Case& tried) {
  Sequence<Number> sequence(tried);
  std::vector<float> alone;
  for (size_t i = 0; i < tried.length; ++i) {
    const std::vector<float> out = sequence.read(i, 1);
    check_close(out, plain_attention(sequence, i), 1e-5, "paged attention at position " + std::to_string(i));
    alone.insert(alone.end(), out.begin(), out.end());
  }
  // in chunks of every kind, to the last bit
  for (const size_t chunk : {size_t{2}, size_t{3}, size_t{7}, size_t{16}, tried.length}) {
    std::vector<float> out;
    for (size_t first = 0; first < tried.length; first += chunk) {
      const std::vector<float> part = sequence.read(first, std::min(chunk, tried.length - first));
      out.insert(out.end(), part.begin(), part.end());
    }
    check(std::memcmp(out.data(), alone.data(), out.size() * sizeof(float)) == 0,
          "paged attention does not depend on chunks of " + std::to_string(chunk));
  }
}

AttentionShape shape_of(size_t heads, size_t kv_heads, size_t head_size) {
  return {.heads = heads,
          .kv_heads = kv_heads,
          .head_size = head_size,
          .scale = 1 / std::sqrt(static_cast<float>(head_size)),
          .causal = true};
}

}  // namespace

void test_paged_attention() {
  AttentionShape windowed = shape_of(4, 2, 32);
  windowed.window = 20;
  AttentionShape capped = shape_of(2, 1, 24);
  capped.soft_cap = 2;
  for (const Case& tried :
       {Case{shape_of(1, 1, 1), 3}, Case{shape_of(3, 3, 7), 40}, Case{shape_of(9, 3, 64), 150},
        Case{shape_of(16, 1, 16), 70}, Case{shape_of(2, 2, 80), 33}, Case{shape_of(2, 1, 129), 35}, Case{windowed, 120},
        Case{capped, 50}, Case{shape_of(3, 3, 16), 50, true}, Case{shape_of(8, 4, 128), 112}}) {
    test_case<float>(tried);
    test_case<uint16_t>(tried);
  }
}

}  // namespace predictor::tests
