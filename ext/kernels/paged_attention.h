// Attention of a sequence's newest tokens to all before them, whose keys and values lie in pages (Vaswani et al. 2017,
// arXiv:1706.03762; pages after Kwon et al. 2023, arXiv:2309.06180).
//
// A token's result is the same to the last bit however many tokens are asked about at once, and whatever else the
// pages' neighbours hold: each score and each sum is one chain of additions, in the order of the numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/attention.h"

namespace predictor::kernels {

inline constexpr size_t kPageTokens = 16;  // a vector's lanes: a page's keys are read one number of all at a time

// Numbers that a page has in one layer.
size_t page_numbers(const AttentionShape& shape);

// Puts a token's keys and values (kv_heads * head_size floats each) into its page: at `slot`, its position there.
// Number: float, or the bits of bfloat16.
template <typename Number>
void store_kv(const AttentionShape& shape, const float* keys, const float* values, size_t slot, Number* page);

template <typename Number>
struct PagedQueries {
  const Number* const* pages;  // the sequence's, of one layer, with the keys and values of these tokens too
  size_t first;                // position of the first token
  size_t count;                // tokens, one after the other
  const float* queries;        // heads * head_size of each, `query_step` floats from the last token's
  size_t query_step;
  float* out;  // likewise
  size_t out_step;
};

class PagedAttention {
 public:
  // `shape`: causal whatever it says. `slopes`: of each head, what is added to a score for each position of the key
  // (Press et al. 2021, arXiv:2108.12409), or null.
  explicit PagedAttention(const AttentionShape& shape, const float* slopes = nullptr)
      : shape_(shape), slopes_(slopes) {}

  // The heads that share the keys and values of `kv_head`.
  template <typename Number>
  void attend(const PagedQueries<Number>& asked, size_t kv_head);

 private:
  const AttentionShape shape_;
  const float* const slopes_;
  std::vector<float> queries_;
  std::vector<float> weights_;
};

extern template void store_kv(const AttentionShape& shape, const float* keys, const float* values, size_t slot,
                              float* page);
extern template void store_kv(const AttentionShape& shape, const float* keys, const float* values, size_t slot,
                              uint16_t* page);
extern template void PagedAttention::attend(const PagedQueries<float>& asked, size_t kv_head);
extern template void PagedAttention::attend(const PagedQueries<uint16_t>& asked, size_t kv_head);

}  // namespace predictor::kernels
