// Sums of int8 for 16 columns of a PackedMatrix, where the processor has no AVX-512 VNNI. Both loops read the same
// bytes as VNNI's, and give the same sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/packed_gemm.h"
#include "kernels/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace predictor::kernels {

inline constexpr size_t kWordsAhead = 64;  // of a matrix, 8 KiB: tried against 4, 12 and 20

struct Int8Columns {
  const void* initial;  // what the sums begin with
  const char* matrix;   // each word of 16 columns is half of a block's: the next is kStride further
  size_t depth;         // words of a row of x
  size_t columns;       // that there are
  size_t row_size;      // of a row of y

  static constexpr size_t kStride = PackedMatrix::kBlockColumns * 4;
};

// For any processor: one byte of each word after the other.
struct BaselineInt8 {
  static constexpr size_t kRows = 1;

  template <size_t Rows>
  static void multiply(const Int8Columns& block, const uint8_t* x, int32_t* y) {
    using Ints16 = Register512::Ints;
    using Words16 = Register512::Words;  // which may overflow on the way
    Words16 sums;
    Ints16 words;
    std::memcpy(&sums, block.initial, sizeof sums);
    for (size_t i = 0; i < block.depth; ++i, x += 4) {
      std::memcpy(&words, block.matrix + i * Int8Columns::kStride, sizeof words);
      sums += (Words16)((words << 24 >> 24) * x[0] + (words << 16 >> 24) * x[1]);
      sums += (Words16)((words << 8 >> 24) * x[2] + (words >> 24) * x[3]);
    }
    std::memcpy(y, &sums, block.columns * sizeof *y);
  }
};

#if defined(__x86_64__)

#define PREDICTOR_AVX2 __attribute__((target("avx2")))

// The instruction adds two products of 16 bits in 32: of a word's four bytes two sums, which meet at the end. It is 1.2
// times as quick as oneDNN in float32 with AVX2; three rows at a time, or four of 8 columns, were slower.
struct Avx2Int8 {
  static constexpr size_t kRows = 2;

  template <size_t Rows>
  PREDICTOR_AVX2 static void multiply(const Int8Columns& block, const uint8_t* x, int32_t* y) {
    __m256i sums[Rows][4] = {};
    for (size_t i = 0; i < block.depth; ++i) {
      const char* const weights = block.matrix + i * Int8Columns::kStride;
      _mm_prefetch(weights + kWordsAhead * Int8Columns::kStride, _MM_HINT_T0);
      __m256i factor[Rows];
#pragma GCC unroll 2
      for (size_t row = 0; row < Rows; ++row) {
        int32_t word;
        std::memcpy(&word, x + (row * block.depth + i) * sizeof word, sizeof word);
        factor[row] = _mm256_cvtepu8_epi16(_mm_set1_epi32(word));
      }
#pragma GCC unroll 4
      for (size_t four = 0; four < 4; ++four) {
        const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(weights) + four);
        const __m256i weight = _mm256_cvtepi8_epi16(bytes);
#pragma GCC unroll 2
        for (size_t row = 0; row < Rows; ++row) {
          sums[row][four] = _mm256_add_epi32(sums[row][four], _mm256_madd_epi16(factor[row], weight));
        }
      }
    }
#pragma GCC unroll 2
    for (size_t row = 0; row < Rows; ++row) {
      __m256i out[2];
#pragma GCC unroll 2
      for (size_t eight = 0; eight < 2; ++eight) {
        const __m256i pairs = _mm256_hadd_epi32(sums[row][2 * eight], sums[row][2 * eight + 1]);
        const __m256i initial = _mm256_load_si256(static_cast<const __m256i*>(block.initial) + eight);
        out[eight] = _mm256_add_epi32(initial, _mm256_permute4x64_epi64(pairs, _MM_SHUFFLE(3, 1, 2, 0)));
      }
      std::memcpy(y + row * block.row_size, out, block.columns * sizeof *y);
    }
  }
};

#undef PREDICTOR_AVX2

#endif

}  // namespace predictor::kernels
