// The inner loops of PackedInt4Matrix, for each instruction set: `Rows` rows of x with a block of 16 columns. The sums
// of a group are whole numbers and exact, those of the groups are added one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/gemm_loops.h"
#include "kernels/packed_int4.h"
#include "kernels/simd.h"

namespace predictor::kernels {

struct Int4Block {
  const char* matrix;
  const char* scales;
  size_t groups;
  size_t y_step;  // numbers from one row of y to the next
  size_t count;   // of columns that there are, 1 at least
};

inline constexpr size_t kInt4Pairs = PackedInt4Matrix::kGroup / 8;  // of words, in a group
inline constexpr size_t kInt4Ahead = 4096;                          // bytes

struct BaselineInt4 {
  static constexpr size_t kRows = 1;

  template <size_t Rows>
  static void multiply(const Int4Block& block, const int8_t* x, const int32_t* offsets, float* y) {
    using Ints16 = Register512::Ints;
    BaselineFloats totals{};
    for (size_t group = 0; group < block.groups; ++group) {
      Ints16 sums = Ints16{} + offsets[group];
      Ints16 words;
      for (size_t pair = 0; pair < kInt4Pairs; ++pair, x += 8) {
        std::memcpy(&words, block.matrix + (group * kInt4Pairs + pair) * sizeof words, sizeof words);
        for (size_t byte = 0; byte < 4; ++byte) {
          sums += (words >> static_cast<int>(8 * byte) & 15) * x[byte];
          sums += (words >> static_cast<int>(8 * byte + 4) & 15) * x[4 + byte];
        }
      }
      typename LanesOf<BaselineFloats>::Halves halves;
      typename LanesOf<BaselineFloats>::Words bits;
      typename LanesOf<BaselineFloats>::Ints whole;
      BaselineFloats scale;
      BaselineFloats numbers;
      load(halves, reinterpret_cast<const uint16_t*>(block.scales) + group * 16);
      convert(halves, bits);
      reinterpret(bits << 16, scale);
      std::memcpy(&whole, &sums, sizeof whole);
      convert(whole, numbers);
      totals += numbers * scale;
    }
    store_up_to(totals, y, block.count);
  }
};

#if defined(__x86_64__)

#define PREDICTOR_AVX2 __attribute__((target("avx2,fma")))

// Of eight words the sums of pairs of products fit 16 bits: 16 * 15 * 127.
struct Avx2Int4 {
  static constexpr size_t kRows = 2;

  template <size_t Rows>
  PREDICTOR_AVX2 static void multiply(const Int4Block& block, const int8_t* x, const int32_t* offsets, float* y) {
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i ones = _mm256_set1_epi16(1);
    const size_t x_step = block.groups * PackedInt4Matrix::kGroup;
    __m256 totals[Rows][2] = {};
    const char* matrix = block.matrix;
    for (size_t group = 0; group < block.groups; ++group) {
      __m256i sums[Rows][2] = {};
      for (size_t pair = 0; pair < kInt4Pairs; ++pair, matrix += 64, x += 8) {
        _mm_prefetch(matrix + kInt4Ahead, _MM_HINT_T0);
#pragma GCC unroll 2
        for (size_t half = 0; half < 2; ++half) {
          const __m256i both = _mm256_load_si256(reinterpret_cast<const __m256i*>(matrix) + half);
          const __m256i first = _mm256_and_si256(both, low);
          const __m256i second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
#pragma GCC unroll 2
          for (size_t row = 0; row < Rows; ++row) {
            const char* const words = reinterpret_cast<const char*>(x) + row * x_step;
            const __m256i products =
                _mm256_add_epi16(_mm256_maddubs_epi16(first, _mm256_set1_epi32(word_at(words))),
                                 _mm256_maddubs_epi16(second, _mm256_set1_epi32(word_at(words + 4))));
            sums[row][half] = _mm256_add_epi16(sums[row][half], products);
          }
        }
      }
#pragma GCC unroll 2
      for (size_t half = 0; half < 2; ++half) {
        const auto* const scales = reinterpret_cast<const __m128i*>(block.scales) + 2 * group + half;
        const __m256 scale = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(scales)), 16));
#pragma GCC unroll 2
        for (size_t row = 0; row < Rows; ++row) {
          const __m256i offset = _mm256_set1_epi32(offsets[row * block.groups + group]);
          const __m256i whole = _mm256_add_epi32(_mm256_madd_epi16(sums[row][half], ones), offset);
          totals[row][half] = _mm256_add_ps(totals[row][half], _mm256_mul_ps(_mm256_cvtepi32_ps(whole), scale));
        }
      }
    }
#pragma GCC unroll 2
    for (size_t row = 0; row < Rows; ++row) {
      store_columns(totals[row][0], totals[row][1], block.count, reinterpret_cast<char*>(y + row * block.y_step));
    }
  }
};

#undef PREDICTOR_AVX2

#define PREDICTOR_AVX512 __attribute__((target("avx512f,avx512vnni")))

struct Avx512Int4 {
  static constexpr size_t kRows = 8;

  template <size_t Rows>
  PREDICTOR_AVX512 static void multiply(const Int4Block& block, const int8_t* x, const int32_t* offsets, float* y) {
    const __m512i low = _mm512_set1_epi32(0x0f0f0f0f);
    const size_t x_step = block.groups * PackedInt4Matrix::kGroup;
    __m512 totals[Rows] = {};
    const char* matrix = block.matrix;
    for (size_t group = 0; group < block.groups; ++group) {
      __m512i sums[Rows];
#pragma GCC unroll 8
      for (size_t row = 0; row < Rows; ++row) sums[row] = _mm512_set1_epi32(offsets[row * block.groups + group]);
#pragma GCC unroll 4
      for (size_t pair = 0; pair < kInt4Pairs; ++pair, matrix += 64, x += 8) {
        _mm_prefetch(matrix + kInt4Ahead, _MM_HINT_T0);
        const __m512i both = _mm512_loadu_si512(matrix);  // scales between groups leave 32 bytes
        const __m512i first = _mm512_and_si512(both, low);
        const __m512i second = _mm512_and_si512((__m512i)((Register512::Words)both >> 4), low);
#pragma GCC unroll 8
        for (size_t row = 0; row < Rows; ++row) {
          const char* const words = reinterpret_cast<const char*>(x) + row * x_step;
          sums[row] = _mm512_dpbusd_epi32(sums[row], first, _mm512_set1_epi32(word_at(words)));
          sums[row] = _mm512_dpbusd_epi32(sums[row], second, _mm512_set1_epi32(word_at(words + 4)));
        }
      }
      Register512::Halves halves;
      std::memcpy(&halves, block.scales + group * sizeof halves, sizeof halves);
      const auto scale = (__m512)(__builtin_convertvector(halves, Register512::Words) << 16);
#pragma GCC unroll 8
      for (size_t row = 0; row < Rows; ++row) {
        totals[row] = _mm512_add_ps(
            totals[row],
            _mm512_mul_ps(__builtin_convertvector((Register512::Ints)sums[row], Register512::Floats), scale));
      }
    }
    const auto columns = static_cast<__mmask16>((1u << block.count) - 1);
#pragma GCC unroll 8
    for (size_t row = 0; row < Rows; ++row) _mm512_mask_storeu_ps(y + row * block.y_step, columns, totals[row]);
  }
};

#undef PREDICTOR_AVX512

#endif

}  // namespace predictor::kernels
