#include "kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "check.h"
#include "kernels/bfloat16.h"
#include "kernels/distance_bias.h"

namespace predictor::tests {

namespace {

using kernels::AttentionShape;

bool is_seen(const AttentionShape& shape, size_t query, size_t key) {
  if (shape.causal && key > query) return false;
  const size_t distance = key > query ? key - query : query - key;
  return shape.window == 0 || distance <= shape.window;
}

// `table`: the biases of a DistanceBias, or none.
struct Bias {
  std::vector<float> table;
  size_t max_distance = 0;

  double of(size_t head, size_t query, size_t key) const {
    if (table.empty()) return 0;
    const auto most = static_cast<ptrdiff_t>(max_distance);
    const ptrdiff_t distance = std::clamp(static_cast<ptrdiff_t>(key) - static_cast<ptrdiff_t>(query), -most, most);
    return static_cast<double>(table[head * (2 * max_distance + 1) + static_cast<size_t>(most + distance)]);
  }
};

std::vector<double> plain_attention(const AttentionShape& shape, const Bias& bias, const std::vector<float>& qkv,
                                    size_t length, size_t seen) {
  const size_t row_size = (shape.heads + 2 * shape.kv_heads) * shape.head_size;
  const auto at = [&](size_t token, size_t head, size_t i) {
    return static_cast<double>(qkv[token * row_size + head * shape.head_size + i]);
  };
  const auto scale = static_cast<double>(shape.scale);
  const auto cap = static_cast<double>(shape.soft_cap);
  std::vector<double> out(length * shape.heads * shape.head_size, 0);
  for (size_t head = 0; head < shape.heads; ++head) {
    const size_t key_head = shape.heads + head / (shape.heads / shape.kv_heads);
    for (size_t token = 0; token < length; ++token) {
      std::vector<double> scores(length, -INFINITY);
      for (size_t other = 0; other < length; ++other) {
        if (other >= seen || !is_seen(shape, token, other)) continue;
        double score = 0;
        for (size_t i = 0; i < shape.head_size; ++i) score += at(token, head, i) * at(other, key_head, i) * scale;
        if (cap > 0) score = cap * std::tanh(score / cap);
        scores[other] = score + bias.of(head, token, other);
      }
      const double max = *std::max_element(scores.begin(), scores.end());
      if (std::isinf(max)) continue;  // nothing is seen
      double total = 0;
      for (double& score : scores) total += score = std::exp(score - max);
      for (size_t other = 0; other < length; ++other) {
        for (size_t i = 0; i < shape.head_size; ++i) {
          out[(token * shape.heads + head) * shape.head_size + i] +=
              scores[other] / total * at(other, key_head + shape.kv_heads, i);
        }
      }
    }
  }
  return out;
}

constexpr size_t kLengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 50, 3, 100};

void test_texts(const AttentionShape& shape, float size, const Bias& bias = {}, size_t seen = SIZE_MAX) {
  kernels::TextAttention attention(shape);  // of many texts, one after the other, as in a batch
  const kernels::DistanceBias distance_bias(bias.table, bias.table.empty() ? 0 : shape.heads, bias.max_distance);
  const kernels::ScoreBias* const score_bias = bias.table.empty() ? nullptr : &distance_bias;
  for (const size_t length : kLengths) {
    std::vector<float> qkv = random_floats(length * (shape.heads + 2 * shape.kv_heads) * shape.head_size, size);
    std::vector<uint16_t> bfloat16(qkv.size());
    kernels::float_to_bfloat16(qkv.data(), qkv.size(), bfloat16.data());
    kernels::bfloat16_to_float(bfloat16.data(), qkv.size(), qkv.data());  // numbers that both types hold
    std::vector<float> out(length * shape.heads * shape.head_size);
    attention.attend(qkv.data(), length, out.data(), score_bias, seen);
    check_close(out, plain_attention(shape, bias, qkv, length, seen), size > 1 ? 1e-3 : 1e-5,
                "attention of a text of " + std::to_string(length));
    std::vector<float> of_bfloat16(out.size());
    attention.attend(bfloat16.data(), length, of_bfloat16.data(), score_bias, seen);
    check(out == of_bfloat16, "attention of bfloat16 is that of the same numbers as floats");
  }
}

AttentionShape plain(size_t heads, size_t head_size) {
  return {
      .heads = heads, .kv_heads = heads, .head_size = head_size, .scale = 1 / std::sqrt(static_cast<float>(head_size))};
}

Bias random_bias(size_t heads, size_t max_distance) {
  return {random_floats(heads * (2 * max_distance + 1), 3), max_distance};
}

void test_windows() {
  for (const bool causal : {false, true}) {
    for (const size_t window : {0, 1, 5, 16, 40, 99, 1000}) {
      AttentionShape shape = plain(2, 9);
      shape.causal = causal;
      shape.window = window;
      test_texts(shape, 1);
      test_texts(shape, 1, random_bias(2, 20));
      for (const size_t seen : {1, 7, 20, 33}) test_texts(shape, 1, random_bias(2, 20), seen);
    }
  }
}

// What a token does not see is not even looked at: NaN there changes nothing.
void test_unseen_keys() {
  constexpr size_t kLength = 300;
  AttentionShape shape = plain(1, 8);
  shape.window = 10;
  std::vector<float> qkv = random_floats(kLength * 24);
  std::vector<float> expected(kLength * 8);
  kernels::TextAttention attention(shape);
  attention.attend(qkv.data(), kLength, expected.data());
  std::fill(qkv.end() - 24 * 100, qkv.end(), NAN);
  std::vector<float> out(expected.size());
  attention.attend(qkv.data(), kLength, out.data());
  check(std::equal(out.begin(), out.begin() + 8 * 128, expected.begin()), "far keys are left out");
}

}  // namespace

void test_attention() {
  test_texts(plain(1, 1), 1);
  test_texts(plain(3, 7), 1);
  test_texts(plain(2, 32), 1);
  test_texts(plain(1, 65), 1);
  test_texts(plain(2, 32), 20);  // scores far apart: softmax must not overflow
  test_texts({.heads = 6, .kv_heads = 2, .head_size = 16, .scale = 0.25f}, 1);
  test_texts({.heads = 4, .kv_heads = 1, .head_size = 10, .scale = 1, .causal = true}, 1);
  test_texts({.heads = 2, .kv_heads = 2, .head_size = 16, .scale = 0.5f, .soft_cap = 2}, 1);
  for (const size_t max_distance : {0, 1, 7, 31, 64, 200}) test_texts(plain(3, 8), 1, random_bias(3, max_distance));
  for (const size_t seen : {1, 2, 16, 40}) test_texts(plain(2, 32), 1, {}, seen);
  test_windows();
  test_unseen_keys();
}

}  // namespace predictor::tests
