// Products of rows with a constant matrix, packed once into blocks: of floats for processors with AVX2 or AVX-512, of
// bfloat16 and int8 for all. Which loop runs where stands in docs/generation.md, "What multiplies".
//
// The libraries are made for large products. For the few rows of a decode step a call of oneDNN has a price as high as
// the product's own, and MKL uses a fifth of what is not Intel's. Microseconds on one core of an AMD EPYC (Zen 5) for
// 2, 8 and 64 rows with a matrix of 768 x 3072 floats: here 107, 154, 1,180; oneDNN with its packed weights 175, 302,
// 1,480; MKL 255, 758, 3,530. With AVX2 (Zen 3) and 16, 64 and 512 rows: here 995, 3,805, 30,200; oneDNN 1,370, 4,201,
// 31,411; MKL 1,471, 4,955, 33,079. In int8, 8 rows with 256 x 1024: here 4.4; oneDNN 15, and with packed weights,
// which it has no quick loop for there, 36,000. Libraries may also add in another order where there are more rows; here
// every number is one chain of additions, whatever the rows beside it. What is chosen depends on the instruction set
// alone, not on a measurement: so a start gives the same texts as the last.
//
// Of int8 no library is taken at all: without VNNI oneDNN adds pairs of products in 16 bits, and what does not fit
// there is cut off. Here every loop gives the exact sums, and so the same.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/instructions.h"
#include "kernels/packed_memory.h"

namespace predictor::kernels {

class PackedMatrix {
 public:
  static constexpr int kInt8Offset = 128;            // of int8 in x: the instruction takes bytes without a sign
  static constexpr size_t kBlockColumns = 32;        // two registers of AVX-512
  static constexpr size_t kMaxInt8Inputs = 132'000;  // sums of more may not fit 32 bits

  enum class Numbers { float32, bfloat16, int8 };

  // For `weight`, [out, in], whose rows pack() takes. `bias`: what each column's sum begins with, or null for 0; not of
  // int8. `instructions`: the best that may be used, for float32 at least AVX2. Of int8 at most kMaxInt8Inputs in.
  PackedMatrix(Numbers numbers, size_t in, size_t out, const float* bias, Instructions instructions);

  // `count` rows of the weight from `first` on, [count, in]; each once. bfloat16: as bits.
  void pack(size_t first, const float* rows, size_t count);
  void pack(size_t first, const uint16_t* rows, size_t count);
  void pack(size_t first, const int8_t* rows, size_t count);

  // Numbers of a row of x: `in`, for bfloat16 rounded up to a multiple of 2 and for int8 of 4; what is too much there
  // may be anything (of bfloat16 any finite number).
  size_t in_features() const { return in_; }
  size_t out_features() const { return out_; }
  size_t blocks() const { return initial_.size() / 2; }

  // The columns of the blocks from `begin` to before `end`: x [rows, in_features()] -> y [rows, out_features()]. Of
  // floats.
  void multiply(const float* x, size_t rows, size_t begin, size_t end, float* y) const;
  // Of bfloat16; the sums are floats, rounded otherwise by each instruction set.
  void multiply(const uint16_t* x, size_t rows, size_t begin, size_t end, float* y) const;
  // Of int8; x: int8 plus kInt8Offset. The sums are those of int8, and exact.
  void multiply(const uint8_t* x, size_t rows, size_t begin, size_t end, int32_t* y) const;

 private:
  struct alignas(64) Words {
    std::array<uint32_t, 16> words;
  };

  // Columns that lie beside each other in memory: those of the loop that will read them.
  size_t panel_columns() const { return is_wide_ ? kBlockColumns : kBlockColumns / 2; }
  char* panel(size_t column) { return matrix_.data() + column * depth_ * 4; }
  const char* panel(size_t column) const { return matrix_.data() + column * depth_ * 4; }
  // `rows`: for each of the columns from `first` on its row of `bytes` bytes.
  void pack_columns(size_t first, const void* rows, size_t count, size_t bytes);
  template <typename Loop>
  void multiply_by(const void* x, size_t rows, size_t begin, size_t end, void* y) const;

  const size_t row_;  // numbers of a row of the weight
  const size_t in_;
  const size_t out_;
  const size_t depth_;  // words of a row of x
  const Instructions instructions_;
  const bool is_wide_;          // whether a panel is a whole block, or half of one
  std::vector<Words> initial_;  // what the sums begin with: for each block two
  PackedMemory matrix_;         // for each panel, and in it for each word of a row of x, a word of each column
};

}  // namespace predictor::kernels
