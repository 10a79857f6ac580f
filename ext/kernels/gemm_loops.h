// The inner loops of PackedMatrix, for each instruction set. A loop multiplies `Rows` rows of x with a panel of the
// matrix, kColumns columns; the sums stay in registers until they are stored. What is called a word has 4 bytes: a
// float, two bfloat16, or four int8.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/packed_gemm.h"
#include "kernels/row_passes.h"
#include "kernels/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace predictor::kernels {

inline constexpr size_t kWordsAhead = 64;  // of a panel, 4 or 8 KiB: tried against 4, 12 and 20

// A panel of the matrix: kColumns columns of a loop, a word of each after the other; and what it is multiplied with.
struct Panel {
  const char* matrix;
  const char* initial;  // what the sums begin with
  size_t initial_step;  // words from one row's to the next one's
  size_t depth;         // words of x and the matrix to multiply
  size_t x_step;        // words from one row of x to the next
  size_t y_step;        // words from one row of y to the next
  size_t count;         // of columns that there are, 1 at least
  const char* next;     // what is multiplied after it, which comes to the second level meanwhile: memory does not rest
  size_t next_step;     // bytes of it for each word of this panel
};

PREDICTOR_INLINE int32_t word_at(const char* from) {
  int32_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// All rows by a loop.
template <typename Loop>
void multiply_rows(const Panel& panel, const char* x, size_t rows, char* y) {
  Panel rest = panel;
  rest.next_step = Loop::kColumns * 4 / std::max<size_t>(passes_of<Loop::kRows>(rows), 1);
  in_passes<Loop::kRows>(rows, [&]<size_t Rows>() {
    Loop::template multiply<Rows>(rest, x, y);
    rest.next += panel.depth * rest.next_step;
    rest.initial += Rows * panel.initial_step * 4;
    x += Rows * panel.x_step * 4;
    y += Rows * panel.y_step * 4;
  });
}

// For any processor: one number of each word after the other.
struct BaselineInt8 {
  static constexpr size_t kRows = 1;
  static constexpr size_t kColumns = 16;

  template <size_t Rows>
  static void multiply(const Panel& panel, const char* x, char* y) {
    using Ints16 = Register512::Ints;
    using Words16 = Register512::Words;  // which may overflow on the way
    const auto* bytes = reinterpret_cast<const uint8_t*>(x);
    Words16 sums;
    Ints16 words;
    std::memcpy(&sums, panel.initial, sizeof sums);
    for (size_t i = 0; i < panel.depth; ++i, bytes += 4) {
      std::memcpy(&words, panel.matrix + i * kColumns * 4, sizeof words);
      sums += (Words16)((words << 24 >> 24) * bytes[0] + (words << 16 >> 24) * bytes[1]);
      sums += (Words16)((words << 8 >> 24) * bytes[2] + (words >> 24) * bytes[3]);
    }
    std::memcpy(y, &sums, panel.count * 4);
  }
};

struct BaselineBfloat16 {
  static constexpr size_t kRows = 1;
  static constexpr size_t kColumns = 16;

  template <size_t Rows>
  static void multiply(const Panel& panel, const char* x, char* y) {
    BaselineFloats sums;
    BaselineFloats numbers;
    typename LanesOf<BaselineFloats>::Words words;
    load(sums, reinterpret_cast<const float*>(panel.initial));
    for (size_t i = 0; i < panel.depth; ++i) {
      const auto word = static_cast<uint32_t>(word_at(x + i * 4));
      const uint32_t halves[] = {word << 16, word & 0xffff0000};
      float factors[2];
      std::memcpy(factors, halves, sizeof factors);
      load(words, reinterpret_cast<const uint32_t*>(panel.matrix + i * kColumns * 4));
      reinterpret(words << 16, numbers);
      sums += numbers * factors[0];
      reinterpret(words & 0xffff0000u, numbers);
      sums += numbers * factors[1];
    }
    store_up_to(sums, reinterpret_cast<float*>(y), panel.count);
  }
};

#if defined(__x86_64__)

#define PREDICTOR_AVX2 __attribute__((target("avx2,fma")))

PREDICTOR_AVX2 PREDICTOR_INLINE void store_columns(const __m256& left, const __m256& right, size_t count, char* y) {
  alignas(32) float numbers[16];
  float* const to = count == 16 ? reinterpret_cast<float*>(y) : numbers;
  _mm256_storeu_ps(to, left);
  _mm256_storeu_ps(to + 8, right);
  if (count < 16) std::memcpy(y, numbers, count * 4);
}

// Six rows of two registers are what 16 registers hold beside a row of the matrix and a factor.
struct Avx2Float {
  static constexpr size_t kRows = 6;
  static constexpr size_t kColumns = 16;

  template <size_t Rows>
  PREDICTOR_AVX2 static void multiply(const Panel& panel, const char* x, char* y) {
    __m256 sums[Rows][2];
#pragma GCC unroll 6
    for (size_t row = 0; row < Rows; ++row) {
      const auto* const initial = reinterpret_cast<const float*>(panel.initial) + row * panel.initial_step;
      sums[row][0] = _mm256_loadu_ps(initial);
      sums[row][1] = _mm256_loadu_ps(initial + 8);
    }
    const char* matrix = panel.matrix;
    for (size_t i = 0; i < panel.depth; ++i, matrix += kColumns * 4, x += 4) {
      _mm_prefetch(matrix + kWordsAhead * kColumns * 4, _MM_HINT_T0);
      if constexpr (Rows > 1) _mm_prefetch(panel.next + i * panel.next_step, _MM_HINT_T1);
      const __m256 left = _mm256_load_ps(reinterpret_cast<const float*>(matrix));
      const __m256 right = _mm256_load_ps(reinterpret_cast<const float*>(matrix) + 8);
#pragma GCC unroll 6
      for (size_t row = 0; row < Rows; ++row) {
        const __m256 factor = _mm256_broadcast_ss(reinterpret_cast<const float*>(x + row * panel.x_step * 4));
        sums[row][0] = _mm256_fmadd_ps(factor, left, sums[row][0]);
        sums[row][1] = _mm256_fmadd_ps(factor, right, sums[row][1]);
      }
    }
#pragma GCC unroll 6
    for (size_t row = 0; row < Rows; ++row) {
      store_columns(sums[row][0], sums[row][1], panel.count, y + row * panel.y_step * 4);
    }
  }
};

// A bfloat16 is the upper half of a float.
struct Avx2Bfloat16 {
  static constexpr size_t kRows = 4;
  static constexpr size_t kColumns = 16;

  PREDICTOR_AVX2 PREDICTOR_INLINE static void even(const __m256i& words, __m256& numbers) {
    numbers = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
  }
  PREDICTOR_AVX2 PREDICTOR_INLINE static void odd(const __m256i& words, __m256& numbers) {
    numbers = _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xffff0000))));
  }

  template <size_t Rows>
  PREDICTOR_AVX2 static void multiply(const Panel& panel, const char* x, char* y) {
    __m256 sums[Rows][2];
#pragma GCC unroll 4
    for (size_t row = 0; row < Rows; ++row) {
      const auto* const initial = reinterpret_cast<const float*>(panel.initial) + row * panel.initial_step;
      sums[row][0] = _mm256_loadu_ps(initial);
      sums[row][1] = _mm256_loadu_ps(initial + 8);
    }
    const char* matrix = panel.matrix;
    for (size_t i = 0; i < panel.depth; ++i, matrix += kColumns * 4, x += 4) {
      _mm_prefetch(matrix + kWordsAhead * kColumns * 4, _MM_HINT_T0);
      if constexpr (Rows > 1) _mm_prefetch(panel.next + i * panel.next_step, _MM_HINT_T1);
      const __m256i left = _mm256_load_si256(reinterpret_cast<const __m256i*>(matrix));
      const __m256i right = _mm256_load_si256(reinterpret_cast<const __m256i*>(matrix) + 1);
      __m256 weights[2][2];
      even(left, weights[0][0]);
      even(right, weights[0][1]);
      odd(left, weights[1][0]);
      odd(right, weights[1][1]);
#pragma GCC unroll 4
      for (size_t row = 0; row < Rows; ++row) {
        const __m256i words = _mm256_set1_epi32(word_at(x + row * panel.x_step * 4));
        __m256 factor;
        even(words, factor);
        sums[row][0] = _mm256_fmadd_ps(factor, weights[0][0], sums[row][0]);
        sums[row][1] = _mm256_fmadd_ps(factor, weights[0][1], sums[row][1]);
        odd(words, factor);
        sums[row][0] = _mm256_fmadd_ps(factor, weights[1][0], sums[row][0]);
        sums[row][1] = _mm256_fmadd_ps(factor, weights[1][1], sums[row][1]);
      }
    }
#pragma GCC unroll 4
    for (size_t row = 0; row < Rows; ++row) {
      store_columns(sums[row][0], sums[row][1], panel.count, y + row * panel.y_step * 4);
    }
  }
};

// The instruction adds two products of 16 bits in 32: of a word's four bytes two sums, which meet at the end. It is 1.2
// times as quick as oneDNN in float32 with AVX2; three rows at a time, or four of 8 columns, were slower.
struct Avx2Int8 {
  static constexpr size_t kRows = 2;
  static constexpr size_t kColumns = 16;

  template <size_t Rows>
  PREDICTOR_AVX2 static void multiply(const Panel& panel, const char* x, char* y) {
    __m256i sums[Rows][4] = {};
    for (size_t i = 0; i < panel.depth; ++i) {
      const char* const weights = panel.matrix + i * kColumns * 4;
      _mm_prefetch(weights + kWordsAhead * kColumns * 4, _MM_HINT_T0);
      __m256i factor[Rows];
#pragma GCC unroll 2
      for (size_t row = 0; row < Rows; ++row) {
        factor[row] = _mm256_cvtepu8_epi16(_mm_set1_epi32(word_at(x + (row * panel.x_step + i) * 4)));
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
      const auto* const initial = reinterpret_cast<const __m256i*>(panel.initial + row * panel.initial_step * 4);
      __m256i out[2];
#pragma GCC unroll 2
      for (size_t eight = 0; eight < 2; ++eight) {
        const __m256i pairs = _mm256_hadd_epi32(sums[row][2 * eight], sums[row][2 * eight + 1]);
        out[eight] = _mm256_add_epi32(_mm256_loadu_si256(initial + eight),
                                      _mm256_permute4x64_epi64(pairs, _MM_SHUFFLE(3, 1, 2, 0)));
      }
      std::memcpy(y + row * panel.y_step * 4, out, panel.count * 4);
    }
  }
};

#undef PREDICTOR_AVX2

// Of these an instruction is used only where its intrinsic stands, behind the question whether the processor has it.
#define PREDICTOR_AVX512 __attribute__((target("avx512f,avx512vnni,avx512bf16")))

// A step adds to `sum` the products of a word of x with one of each column. kRows: of so many rows the sums of 32
// columns stay in registers; 14 are what 32 registers hold, of which int8 and bfloat16 have no use.
struct FloatStep {
  static constexpr size_t kRows = 14;

  PREDICTOR_AVX512 PREDICTOR_INLINE static __m512i apply(__m512i sum, __m512i x, __m512i weight) {
    return _mm512_castps_si512(
        _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(weight), _mm512_castsi512_ps(sum)));
  }
};

struct Bfloat16Step {
  static constexpr size_t kRows = 8;

  PREDICTOR_AVX512 PREDICTOR_INLINE static __m512i apply(__m512i sum, __m512i x, __m512i weight) {
    return _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), (__m512bh)x, (__m512bh)weight));
  }
};

// Where there is no such instruction: a bfloat16 is the upper half of a float.
struct Bfloat16ByFloatsStep {
  static constexpr size_t kRows = 8;
  using Words = Register512::Words;

  PREDICTOR_AVX512 PREDICTOR_INLINE static __m512i apply(__m512i sum, __m512i x, __m512i weight) {
    sum = FloatStep::apply(sum, (__m512i)((Words)x << 16), (__m512i)((Words)weight << 16));
    return FloatStep::apply(sum, (__m512i)((Words)x & 0xffff0000), (__m512i)((Words)weight & 0xffff0000));
  }
};

struct Int8Step {
  static constexpr size_t kRows = 8;

  PREDICTOR_AVX512 PREDICTOR_INLINE static __m512i apply(__m512i sum, __m512i x, __m512i weight) {
    return _mm512_dpbusd_epi32(sum, x, weight);
  }
};

template <typename Step>
struct Avx512Loop {
  static constexpr size_t kRows = Step::kRows;
  static constexpr size_t kColumns = 32;

  template <size_t Rows>
  PREDICTOR_AVX512 static void multiply(const Panel& panel, const char* x, char* y) {
    const auto* const matrix = reinterpret_cast<const __m512i*>(panel.matrix);
    __m512i left[Rows];
    __m512i right[Rows];
#pragma GCC unroll 14
    for (size_t row = 0; row < Rows; ++row) {
      const char* const initial = panel.initial + row * panel.initial_step * 4;
      left[row] = _mm512_loadu_si512(initial);
      right[row] = _mm512_loadu_si512(initial + sizeof left[row]);
    }
    for (size_t i = 0; i < panel.depth; ++i) {
      _mm_prefetch(reinterpret_cast<const char*>(matrix + 2 * (i + kWordsAhead)), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(matrix + 2 * (i + kWordsAhead) + 1), _MM_HINT_T0);
      // Fewer rows wait for memory alone.
      if constexpr (Rows > 4) _mm_prefetch(panel.next + i * panel.next_step, _MM_HINT_T1);
#pragma GCC unroll 14
      for (size_t row = 0; row < Rows; ++row) {
        const __m512i factor = _mm512_set1_epi32(word_at(x + (row * panel.x_step + i) * 4));
        left[row] = Step::apply(left[row], factor, matrix[2 * i]);
        right[row] = Step::apply(right[row], factor, matrix[2 * i + 1]);
      }
    }
    const auto left_columns = static_cast<__mmask16>((1u << std::min<size_t>(panel.count, 16)) - 1);
    const auto right_columns = static_cast<__mmask16>((1u << (std::max<size_t>(panel.count, 16) - 16)) - 1);
#pragma GCC unroll 14
    for (size_t row = 0; row < Rows; ++row) {
      _mm512_mask_storeu_epi32(y + row * panel.y_step * 4, left_columns, left[row]);
      _mm512_mask_storeu_epi32(y + row * panel.y_step * 4 + sizeof(__m512i), right_columns, right[row]);
    }
  }
};

#undef PREDICTOR_AVX512

#endif

}  // namespace predictor::kernels
