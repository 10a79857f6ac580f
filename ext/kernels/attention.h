// Attention within texts that lie one after the other, without padding or masks (Vaswani et al. 2017,
// arXiv:1706.03762).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace predictor::kernels {

class TextAttention {
 public:
  TextAttention(size_t heads, size_t head_size) : heads_(heads), head_size_(head_size) {}

  // `qkv`: the queries, keys and values (3 * heads * head_size numbers) of each of the `length` tokens of one text,
  // as floats or as the bits of bfloat16. `out`: heads * head_size floats a token.
  template <typename Number>
  void attend(const Number* qkv, size_t length, float* out);

 private:
  const size_t heads_;
  const size_t head_size_;
  std::vector<float> keys_;
  std::vector<float> values_;
  std::vector<float> queries_;
  std::vector<float> weights_;
};

extern template void TextAttention::attend(const float* qkv, size_t length, float* out);
extern template void TextAttention::attend(const uint16_t* qkv, size_t length, float* out);

}  // namespace predictor::kernels
