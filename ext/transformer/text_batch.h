// Texts in token ids, one after the other, without padding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace predictor {

struct TextBatch {
  at::Tensor ids;                // int32 [tokens], on the processor
  std::vector<int64_t> lengths;  // of each text, at least 1
  std::vector<int64_t>
      second_begins;  // in each text, where the second of a pair begins; its length where there is none
  std::vector<int64_t> prompt_tokens;  // in each text, the first ones that pooling leaves out
  std::vector<int64_t> seen;           // in each text, the first ones that its tokens attend to

  int64_t tokens() const { return ids.size(0); }
};

}  // namespace predictor
