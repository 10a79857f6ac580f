#include "kernels/packed_gemm.h"

#include <algorithm>
#include <cstring>

#include "kernels/int8_gemm.h"
#include "kernels/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace predictor::kernels {

namespace {

size_t blocks_of(size_t columns) {
  return (columns + PackedMatrix::kBlockColumns - 1) / PackedMatrix::kBlockColumns;
}

size_t words_of(size_t bytes) {
  return (bytes + 3) / 4;
}

}  // namespace

PackedMatrix::PackedMatrix(const float* weight, size_t in, size_t out, const float* bias)
    : in_(in),
      out_(out),
      instructions_(Instructions::avx512),
      initial_(blocks_of(out) * 2),
      matrix_(blocks_of(out) * in * 2) {
  for (size_t block = 0; block < blocks(); ++block) {
    const size_t column = block * kBlockColumns;
    const size_t bytes = std::min(kBlockColumns, out - column) * sizeof(float);
    if (bias != nullptr) std::memcpy(&initial_[2 * block], bias + column, bytes);
    for (size_t i = 0; i < in; ++i) std::memcpy(&matrix_[2 * (block * in + i)], weight + i * out + column, bytes);
  }
}

// Four rows of the matrix make one of words. What a column gets too much by the offset is taken away before: the
// product with a row of ones tells.
PackedMatrix::PackedMatrix(const int8_t* weight, size_t in, size_t out, Instructions instructions)
    : in_(words_of(in) * 4),
      out_(out),
      instructions_(instructions),
      initial_(blocks_of(out) * 2),
      matrix_(blocks_of(out) * words_of(in) * 2) {
  for (size_t block = 0; block < blocks(); ++block) {
    const int8_t* const from = weight + block * kBlockColumns * in;
    const size_t columns = std::min(kBlockColumns, out - block * kBlockColumns);
    auto* to = reinterpret_cast<char*>(&matrix_[2 * block * (in_ / 4)]);
    size_t i = 0;
    for (; i + 4 <= in; i += 4, to += kBlockColumns * 4) {
      for (size_t column = 0; column < columns; ++column) {
        std::memcpy(to + column * 4, from + column * in + i, 4);
      }
    }
    if (i == in) continue;
    for (size_t column = 0; column < columns; ++column) std::memcpy(to + column * 4, from + column * in + i, in - i);
  }
  std::vector<int32_t> sums(out);
  multiply(std::vector<uint8_t>(in_, 1).data(), 1, 0, blocks(), sums.data());
  for (size_t column = 0; column < out; ++column) {
    initial_[column / 16].words[column % 16] =
        -static_cast<uint32_t>(kInt8Offset) * static_cast<uint32_t>(sums[column]);
  }
}

#if defined(__x86_64__)

// Of these an instruction is used only where its intrinsic stands, behind the question whether the processor has it.
#define PREDICTOR_AVX512 __attribute__((target("avx512f,avx512vnni")))

namespace {

struct FloatStep {
  PREDICTOR_AVX512 PREDICTOR_INLINE static __m512i apply(__m512i sum, __m512i x, __m512i weight) {
    return _mm512_castps_si512(
        _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(weight), _mm512_castsi512_ps(sum)));
  }
};

struct Int8Step {
  PREDICTOR_AVX512 PREDICTOR_INLINE static __m512i apply(__m512i sum, __m512i x, __m512i weight) {
    return _mm512_dpbusd_epi32(sum, x, weight);
  }
};

// All in words of 4 bytes: a float, or four int8.
struct Block {
  const __m512i* initial;
  const __m512i* matrix;
  size_t depth;     // words of a row of x
  size_t row_size;  // words of a row of y
  __mmask16 left;   // which of the first 16 columns there are
  __mmask16 right;  // and of the others
};

// The sums stay in registers until they are complete.
template <typename Step, size_t Rows>
PREDICTOR_AVX512 void multiply_rows(const Block& block, const char* x, char* y) {
  __m512i left[Rows];
  __m512i right[Rows];
#pragma GCC unroll 8
  for (size_t row = 0; row < Rows; ++row) {
    left[row] = block.initial[0];
    right[row] = block.initial[1];
  }
  for (size_t i = 0; i < block.depth; ++i) {
    _mm_prefetch(reinterpret_cast<const char*>(block.matrix + 2 * (i + kWordsAhead)), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(block.matrix + 2 * (i + kWordsAhead) + 1), _MM_HINT_T0);
#pragma GCC unroll 8
    for (size_t row = 0; row < Rows; ++row) {
      int32_t word;
      std::memcpy(&word, x + (row * block.depth + i) * sizeof word, sizeof word);
      const __m512i factor = _mm512_set1_epi32(word);
      left[row] = Step::apply(left[row], factor, block.matrix[2 * i]);
      right[row] = Step::apply(right[row], factor, block.matrix[2 * i + 1]);
    }
  }
#pragma GCC unroll 8
  for (size_t row = 0; row < Rows; ++row) {
    _mm512_mask_storeu_epi32(y + row * block.row_size * 4, block.left, left[row]);
    _mm512_mask_storeu_epi32(y + row * block.row_size * 4 + sizeof(__m512i), block.right, right[row]);
  }
}

__mmask16 mask(size_t columns) {
  return static_cast<__mmask16>((1u << std::min<size_t>(columns, 16)) - 1);
}

}  // namespace

template <typename Step>
void PackedMatrix::multiply_by_avx512(const void* x, size_t depth, size_t rows, size_t begin, size_t end,
                                      void* y) const {
  for (size_t i = begin; i < end; ++i) {
    const size_t columns = std::min(kBlockColumns, out_ - i * kBlockColumns);
    const Block block{reinterpret_cast<const __m512i*>(&initial_[2 * i]),
                      reinterpret_cast<const __m512i*>(&matrix_[2 * i * depth]),
                      depth,
                      out_,
                      mask(columns),
                      mask(columns - std::min<size_t>(columns, 16))};
    const char* from = static_cast<const char*>(x);
    char* to = static_cast<char*>(y) + i * kBlockColumns * 4;
    size_t left = rows;
    const auto take = [&]<size_t Rows>() {
      multiply_rows<Step, Rows>(block, from, to);
      from += Rows * depth * 4;
      to += Rows * out_ * 4;
      left -= Rows;
    };
    while (left >= 8) take.template operator()<8>();
    if (left >= 4) take.template operator()<4>();
    if (left >= 2) take.template operator()<2>();
    if (left >= 1) take.template operator()<1>();
  }
}

#endif

template <typename Kernel>
void PackedMatrix::multiply_int8(const uint8_t* x, size_t rows, size_t begin, size_t end, int32_t* y) const {
  const size_t depth = in_ / 4;
  for (size_t i = 2 * begin; i < 2 * end; ++i) {
    const size_t column = i * kBlockColumns / 2;
    if (column >= out_) break;
    const auto* const matrix = reinterpret_cast<const char*>(&matrix_[i / 2 * 2 * depth + i % 2]);
    const Int8Columns columns16{&initial_[i], matrix, depth, std::min(kBlockColumns / 2, out_ - column), out_};
    size_t row = 0;
    for (; row + Kernel::kRows <= rows; row += Kernel::kRows) {
      Kernel::template multiply<Kernel::kRows>(columns16, x + row * in_, y + row * out_ + column);
    }
    for (; row < rows; ++row) Kernel::template multiply<1>(columns16, x + row * in_, y + row * out_ + column);
  }
}

void PackedMatrix::multiply([[maybe_unused]] const float* x, [[maybe_unused]] size_t rows,
                            [[maybe_unused]] size_t begin, [[maybe_unused]] size_t end,
                            [[maybe_unused]] float* y) const {
#if defined(__x86_64__)
  multiply_by_avx512<FloatStep>(x, in_, rows, begin, end, y);
#endif
}

void PackedMatrix::multiply(const uint8_t* x, size_t rows, size_t begin, size_t end, int32_t* y) const {
#if defined(__x86_64__)
  if (instructions_ == Instructions::avx512_vnni) return multiply_by_avx512<Int8Step>(x, in_ / 4, rows, begin, end, y);
  if (instructions_ >= Instructions::avx2) return multiply_int8<Avx2Int8>(x, rows, begin, end, y);
#endif
  multiply_int8<BaselineInt8>(x, rows, begin, end, y);
}

}  // namespace predictor::kernels
