// Named tensors as a model's files hold them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace predictor {

struct LowRank;

struct Weight {
  std::string dtype;  // as safetensors names it: F32, F16, BF16, I8, ...; or as ggml does (ggml_blocks.h)
  std::vector<int64_t> shape;
  std::string_view bytes;  // row after row, little endian; of any alignment
  std::shared_ptr<const LowRank> added = nullptr;
  // The file has the rows of each of so many heads in another order than the model: those of the two halves, which
  // rotary positions turn together, in pairs. 0: in the model's.
  int64_t paired_heads = 0;
  float shift = 0;  // is added to each number
};

// What an adapter adds to a matrix: scale * up * down (LoRA; Hu et al. 2021, arXiv:2106.09685).
struct LowRank {
  Weight down;  // [rank, in]
  Weight up;    // [out, rank]
  double scale;
  bool turned;  // the matrix is [in, out], as GPT-2's are
};
using Weights = std::map<std::string, Weight>;

}  // namespace predictor
