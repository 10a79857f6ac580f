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
struct GroupedNumbers;

struct Weight {
  std::string dtype;  // as safetensors names it: F32, F16, BF16, I8, ...; or as ggml does (ggml_blocks.h)
  std::vector<int64_t> shape;
  std::string_view bytes;  // row after row, little endian; of any alignment
  std::shared_ptr<const LowRank> added = nullptr;
  // The file has the rows of each of so many heads in another order than the model: those of the two halves, which
  // rotary positions turn together, in pairs. 0: in the model's.
  int64_t paired_heads = 0;
  float shift = 0;                                          // is added to each number
  std::shared_ptr<const GroupedNumbers> grouped = nullptr;  // what the bytes are then
};

// Of a matrix [out, in] whose weights GPTQ or AWQ has made whole numbers of a few bits, so many of them in a word of 32
// bits, from the lowest bits on: the number q of output o and input i stands for scales[g, o] * (q - zeros[g, o]),
// where g is the group of i.
struct GroupedNumbers {
  Weight zeros;        // words of [groups, out] whole numbers, those of neighbouring outputs in a word
  Weight scales;       // [groups, out]
  Weight groups;       // int32 [in]: each input's group; no bytes: `group_size` inputs after the other
  int64_t group_size;  // the last one may be smaller
  int64_t bits;        // of a number: 4 or 8
  int64_t zero_shift;  // is added to each zero, within its bits
  // Numbers of neighbouring outputs share a word, [in, out / 8], the even ones first, in zeros too (AWQ); else those of
  // neighbouring inputs do, [in / 8, out] (GPTQ).
  bool interleaved;
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
