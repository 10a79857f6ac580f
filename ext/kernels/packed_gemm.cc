#include "kernels/packed_gemm.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/amx_loops.h"
#include "kernels/gemm_loops.h"

namespace predictor::kernels {

namespace {

// Bytes of x that stay in the second-level cache while all columns are multiplied with them.
constexpr size_t kTileBytes = size_t{1} << 20;

[[maybe_unused]] constexpr size_t kLeastTileRows = 4;  // fewer are as quick without tiles, where the sums are exact

constexpr size_t kPanelBytes = size_t{1} << 15;  // of a panel, in the first level

size_t blocks_of(size_t columns) {
  return (columns + PackedMatrix::kBlockColumns - 1) / PackedMatrix::kBlockColumns;
}

size_t numbers_of_word(PackedMatrix::Numbers numbers) {
  return numbers == PackedMatrix::Numbers::float32 ? 1 : numbers == PackedMatrix::Numbers::bfloat16 ? 2 : 4;
}

size_t words_of(PackedMatrix::Numbers numbers, size_t count) {
  return (count + numbers_of_word(numbers) - 1) / numbers_of_word(numbers);
}

}  // namespace

PackedMatrix::PackedMatrix(Numbers numbers, size_t in, size_t out, const float* bias, Instructions instructions)
    : row_(in),
      in_(words_of(numbers, in) * numbers_of_word(numbers)),
      out_(out),
      depth_(words_of(numbers, in)),
      instructions_(instructions),
      is_wide_(instructions >= (numbers == Numbers::int8 ? Instructions::avx512_vnni : Instructions::avx512)),
      initial_(blocks_of(out) * 2),
      matrix_(blocks_of(out) * depth_ * 2 * sizeof(Words)) {
  if (bias != nullptr) std::memcpy(initial_.data(), bias, out * sizeof *bias);
}

void PackedMatrix::pack(size_t first, const float* rows, size_t count) {
  pack_columns(first, rows, count, row_ * sizeof *rows);
}

void PackedMatrix::pack(size_t first, const uint16_t* rows, size_t count) {
  pack_columns(first, rows, count, row_ * sizeof *rows);
}

// What a column gets too much by the offset is taken away before.
void PackedMatrix::pack(size_t first, const int8_t* rows, size_t count) {
  pack_columns(first, rows, count, row_);
  for (size_t i = 0; i < count; ++i) {
    const int32_t sum = std::accumulate(rows + i * row_, rows + (i + 1) * row_, 0);
    const size_t column = first + i;
    initial_[column / 16].words[column % 16] = -static_cast<uint32_t>(kInt8Offset) * static_cast<uint32_t>(sum);
  }
}

void PackedMatrix::pack_columns(size_t first, const void* rows, size_t count, size_t bytes) {
  const size_t columns = panel_columns();
  const char* from = static_cast<const char*>(rows);
  for (size_t column = first; column < first + count; ++column) {
    char* to = panel(column / columns * columns) + column % columns * 4;
    for (size_t left = bytes; left > 0; to += columns * 4) {
      const size_t some = std::min<size_t>(4, left);
      std::memcpy(to, from, some);
      from += some;
      left -= some;
    }
  }
}

// Up to so many rows take a panel as a whole: one pass of them reads it from memory, or two, of tiles, which come to
// memory's limit all the same.
template <typename Loop>
constexpr size_t rows_of_whole_panels() {
  if constexpr (requires { Loop::end(); }) return 2 * Loop::kRows;
  return Loop::kRows;
}

// In parts that stay in the caches: of x as many rows as the second level holds, while all columns are multiplied with
// them; of a panel as many words as the first level holds, while these rows are. In between the sums lie in y, where
// nothing is lost.
template <typename Loop>
void PackedMatrix::multiply_by(const void* x, size_t rows, size_t begin, size_t end, void* y) const {
  constexpr size_t kColumns = Loop::kColumns;
  const size_t most = std::max<size_t>(kTileBytes / 4 / std::max<size_t>(depth_, 1) / Loop::kRows, 1) * Loop::kRows;
  const size_t tiles = (rows + most - 1) / most;  // with nearly as many rows each: all of the matrix is read for any
  for (size_t first = 0, left = tiles; left > 0; --left) {
    const size_t count = (rows - first + left - 1) / left;
    for (size_t column = begin * kBlockColumns; column < std::min(end * kBlockColumns, out_); column += kColumns) {
      const char* const from = static_cast<const char*>(x) + first * depth_ * 4;
      char* const to = static_cast<char*>(y) + (first * out_ + column) * 4;
      const auto* const initial = reinterpret_cast<const char*>(initial_.data()) + column * 4;
      Panel part{panel(column), initial, 0, depth_, depth_, out_, std::min(kColumns, out_ - column), nullptr, 0};
      // A shorter row of y cannot be read again.
      const bool in_parts = part.count == kColumns && count > rows_of_whole_panels<Loop>();
      const size_t words = in_parts ? kPanelBytes / 4 / kColumns : depth_;
      size_t word = 0;
      do {
        part.depth = std::min(words, depth_ - word);
        part.next = part.matrix + part.depth * kColumns * 4;
        if constexpr (requires { Loop::end(); }) {
          Loop::multiply(part, from + word * 4, count, to);
        } else {
          multiply_rows<Loop>(part, from + word * 4, count, to);
        }
        word += part.depth;
        part.matrix += part.depth * kColumns * 4;
        part.initial = to;
        part.initial_step = out_;
      } while (word < depth_);
    }
    first += count;
  }
  if constexpr (requires { Loop::end(); }) Loop::end();
}

void PackedMatrix::multiply([[maybe_unused]] const float* x, [[maybe_unused]] size_t rows,
                            [[maybe_unused]] size_t begin, [[maybe_unused]] size_t end,
                            [[maybe_unused]] float* y) const {
#if defined(__x86_64__)
  if (instructions_ >= Instructions::avx512) return multiply_by<Avx512Loop<FloatStep>>(x, rows, begin, end, y);
  if (instructions_ >= Instructions::avx2) return multiply_by<Avx2Float>(x, rows, begin, end, y);
#endif
}

void PackedMatrix::multiply(const uint16_t* x, size_t rows, size_t begin, size_t end, float* y) const {
#if defined(__x86_64__)
  if (instructions_ >= Instructions::amx) return multiply_by<AmxLoop<Bfloat16Tiles>>(x, rows, begin, end, y);
  if (instructions_ >= Instructions::avx512_bf16) return multiply_by<Avx512Loop<Bfloat16Step>>(x, rows, begin, end, y);
  if (instructions_ >= Instructions::avx512) {
    return multiply_by<Avx512Loop<Bfloat16ByFloatsStep>>(x, rows, begin, end, y);
  }
  if (instructions_ >= Instructions::avx2) return multiply_by<Avx2Bfloat16>(x, rows, begin, end, y);
#endif
  multiply_by<BaselineBfloat16>(x, rows, begin, end, y);
}

void PackedMatrix::multiply(const uint8_t* x, size_t rows, size_t begin, size_t end, int32_t* y) const {
#if defined(__x86_64__)
  if (instructions_ >= Instructions::amx && rows >= kLeastTileRows) {
    return multiply_by<AmxLoop<Int8Tiles>>(x, rows, begin, end, y);
  }
  if (instructions_ >= Instructions::avx512_vnni) return multiply_by<Avx512Loop<Int8Step>>(x, rows, begin, end, y);
  if (instructions_ >= Instructions::avx2) return multiply_by<Avx2Int8>(x, rows, begin, end, y);
#endif
  multiply_by<BaselineInt8>(x, rows, begin, end, y);
}

}  // namespace predictor::kernels
