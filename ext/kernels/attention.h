// Attention within texts that lie one after the other, without padding or masks (Vaswani et al. 2017,
// arXiv:1706.03762).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace predictor::kernels {

struct AttentionShape {
  size_t heads;
  size_t kv_heads;  // heads of keys and values, each shared by heads / kv_heads of the queries
  size_t head_size;
  float scale;          // of the products of queries and keys; mostly 1 / sqrt(head_size)
  bool causal = false;  // a token sees itself and those before it
  size_t window = 0;    // a token sees those at most this far from it, on each side (before it if causal); 0: all
  float soft_cap = 0;   // scores become soft_cap * tanh(score / soft_cap); 0: they stay
};

// What is added to the scores of queries and keys, after the scale and the cap.
class ScoreBias {
 public:
  virtual ~ScoreBias() = default;

  // Adds to scores[(key - keys_begin) * stride + query - first_query] for the keys from `keys_begin` to before
  // `keys_end`, and `queries` (at most 32) queries from `first_query` on.
  virtual void add(size_t head, size_t first_query, size_t queries, size_t keys_begin, size_t keys_end, size_t stride,
                   float* scores) const = 0;
};

class TextAttention {
 public:
  explicit TextAttention(const AttentionShape& shape) : shape_(shape) {}

  // `qkv`: of each of the `length` tokens of one text the queries (heads * head_size numbers), the keys and the values
  // (kv_heads * head_size each), as floats or as the bits of bfloat16. `out`: heads * head_size floats a token.
  // What a token does not see is left out of the work too, in blocks of 32 queries. `seen`: tokens beyond the first so
  // many are seen by none; what sees nothing gets zeros.
  template <typename Number>
  void attend(const Number* qkv, size_t length, float* out, const ScoreBias* bias = nullptr, size_t seen = SIZE_MAX) {
    for (size_t i = 0; i < shape_.kv_heads; ++i) attend_head(qkv, length, i, out, bias, seen);
  }
  // Only the heads that share the keys and values of `kv_head`.
  template <typename Number>
  void attend_head(const Number* qkv, size_t length, size_t kv_head, float* out, const ScoreBias* bias = nullptr,
                   size_t seen = SIZE_MAX);

 private:
  const AttentionShape shape_;
  std::vector<float> keys_;
  std::vector<float> values_;
  std::vector<float> queries_;
  std::vector<float> weights_;
};

extern template void TextAttention::attend_head(const float* qkv, size_t length, size_t kv_head, float* out,
                                                const ScoreBias* bias, size_t seen);
extern template void TextAttention::attend_head(const uint16_t* qkv, size_t length, size_t kv_head, float* out,
                                                const ScoreBias* bias, size_t seen);

}  // namespace predictor::kernels
