// Products of rows of int8 with a constant matrix of 4 bits: groups of 32 weights of an output share a scale. Of ways
// to spend 4.5 bits a weight this one had the least error on weights of the normal and longer-tailed distributions:
// whole numbers about 0 in groups of 32, the scale chosen by the group's squared error, 8.2 to 10.3 % of the weights'
// size; a minimum beside the scale in groups of 64, 9.0 to 11.1 %.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/instructions.h"
#include "kernels/packed_memory.h"

namespace predictor::kernels {

class PackedInt4Matrix {
 public:
  static constexpr size_t kGroup = 32;
  static constexpr size_t kBlockColumns = 16;

  // For `weight`, [out, in], whose rows pack() takes. `instructions`: the best that may be used.
  PackedInt4Matrix(size_t in, size_t out, Instructions instructions);

  // `count` rows of the weight from `first` on, [count, in], each once; two threads may pack different blocks.
  void pack(size_t first, const float* rows, size_t count);

  size_t in_features() const { return groups_ * kGroup; }  // numbers of a row of x: `in`, and then zeros
  size_t out_features() const { return out_; }
  size_t groups() const { return groups_; }
  size_t blocks() const { return (out_ + kBlockColumns - 1) / kBlockColumns; }
  // Of each output's weights, as they are packed.
  const std::vector<float>& column_sums() const { return column_sums_; }

  // The columns of the blocks from `begin` to before `end`: x [rows, in_features()], of -127 to 127 -> y [rows,
  // out_features()]. `offsets`: what group_offsets() gives for each row. All instruction sets give the same numbers.
  void multiply(const int8_t* x, const int32_t* offsets, size_t rows, size_t begin, size_t end, float* y) const;

 private:
  size_t block_bytes() const { return groups_ * (kGroup * kBlockColumns / 2 + kBlockColumns * sizeof(uint16_t)); }
  template <typename Loop>
  void multiply_by(const int8_t* x, const int32_t* offsets, size_t rows, size_t begin, size_t end, float* y) const;

  const size_t in_;
  const size_t out_;
  const size_t groups_;
  const Instructions instructions_;
  std::vector<float> column_sums_;
  // For each block and in it for each group and each two words of a row of x, a word of each column: the first word's
  // numbers in the lower halves of the bytes, 8 added to each. Behind all groups their scales, as bfloat16.
  PackedMemory matrix_;
};

// -8 times the sum of each group of x, to `out`: what the weights got too much.
void group_offsets(const int8_t* x, size_t groups, int32_t* out);

// out = sums * scale + middle * column_sums + bias, in place. `bias` may be null.
void finish_int4_row(float* sums, float scale, float middle, const float* column_sums, const float* bias, size_t size);

}  // namespace predictor::kernels
