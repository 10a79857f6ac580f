#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "check.h"

namespace predictor::tests {

namespace {

std::vector<double> plain_attention(const std::vector<float>& qkv, size_t heads, size_t head_size, size_t length) {
  const size_t hidden_size = heads * head_size;
  const auto at = [&](size_t token, size_t part, size_t i) {
    return static_cast<double>(qkv[token * 3 * hidden_size + part * hidden_size + i]);
  };
  std::vector<double> out(length * hidden_size, 0);
  for (size_t head = 0; head < heads; ++head) {
    for (size_t token = 0; token < length; ++token) {
      std::vector<double> scores(length, 0);
      for (size_t other = 0; other < length; ++other) {
        for (size_t i = head * head_size; i < (head + 1) * head_size; ++i) {
          scores[other] += at(token, 0, i) * at(other, 1, i) / std::sqrt(static_cast<double>(head_size));
        }
      }
      const double max = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double& score : scores) total += score = std::exp(score - max);
      for (size_t other = 0; other < length; ++other) {
        for (size_t i = head * head_size; i < (head + 1) * head_size; ++i) {
          out[token * hidden_size + i] += scores[other] / total * at(other, 2, i);
        }
      }
    }
  }
  return out;
}

void test_texts(size_t heads, size_t head_size, float scale) {
  kernels::TextAttention attention(heads, head_size);  // of many texts, one after the other, as in a batch
  for (const size_t length : {1, 2, 15, 16, 17, 31, 32, 33, 50, 3}) {
    std::vector<float> qkv = random_floats(length * 3 * heads * head_size, scale);
    std::vector<uint16_t> bfloat16(qkv.size());
    for (size_t i = 0; i < qkv.size(); ++i) {  // numbers that both types hold
      uint32_t bits;
      std::memcpy(&bits, &qkv[i], sizeof bits);
      bfloat16[i] = static_cast<uint16_t>(bits >> 16);
      bits &= 0xffff0000;
      std::memcpy(&qkv[i], &bits, sizeof bits);
    }
    std::vector<float> out(length * heads * head_size);
    attention.attend(qkv.data(), length, out.data());
    check_close(out, plain_attention(qkv, heads, head_size, length), scale > 1 ? 1e-3 : 1e-5,
                "attention of a text of " + std::to_string(length));
    std::vector<float> of_bfloat16(out.size());
    attention.attend(bfloat16.data(), length, of_bfloat16.data());
    check(out == of_bfloat16, "attention of bfloat16 is that of the same numbers as floats");
  }
}

}  // namespace

void test_attention() {
  test_texts(1, 1, 1);
  test_texts(3, 7, 1);
  test_texts(2, 32, 1);
  test_texts(1, 65, 1);
  test_texts(2, 32, 20);  // scores far apart: softmax must not overflow
}

}  // namespace predictor::tests
