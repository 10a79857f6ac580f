// The key is eight bytes, a word w = seed | feature << 32, and with m = kFarmOfEight its fingerprint is
//   c = rotr(w, 37) * m + w + k2,   d = (rotr(w + k2, 25) + w) * m,   mix(c, d, m).
// The two halves of w share no bits, so rotr(w, 37) is the sum of theirs, and c the sum of a part that depends on the
// seed alone and one that depends on the feature alone: one of the five multiplications is done beforehand.
#include "smart_reply/projection.h"

#include <bit>

#include "smart_reply/fingerprint.h"

#ifdef __x86_64__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 misreads _mm512_undefined (GCC bug 105593)
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace predictor::smart_reply {

namespace {

constexpr uint64_t kMultiplier = kFarmOfEight;

uint64_t feature_half(int32_t id) {
  return static_cast<uint64_t>(static_cast<uint32_t>(id)) << 32;
}
uint64_t own_part(uint64_t half) {
  return std::rotr(half, 37) * kMultiplier + half;
}

void sum_portable(const uint32_t* seeds, size_t seed_count, Features features, double* sums) {
  for (size_t s = 0; s < seed_count; ++s) {
    uint64_t seed_part = own_part(seeds[s]) + kFarm2;
    double sum = 0;
    for (size_t i = 0; i < features.size; ++i) {
      uint64_t half = feature_half(features.ids[i]);
      uint64_t word = seeds[s] | half;
      uint64_t c = seed_part + own_part(half);
      uint64_t d = (std::rotr(word + kFarm2, 25) + word) * kMultiplier;
      uint64_t a = (c ^ d) * kMultiplier;
      a ^= a >> 47;
      uint64_t b = (d ^ a) * kMultiplier;
      b = (b ^ (b >> 47)) * kMultiplier;
      sum += features.weights[i] * static_cast<double>(static_cast<int64_t>(b));
    }
    sums[s] = sum;
  }
}

#ifdef __x86_64__

// ------------------------------------------------------------------------------------------------------- 4 at a time

#define AVX2 __attribute__((target("avx2")))

AVX2 inline __m256i times_multiplier(__m256i value) {
  const __m256i low = _mm256_set1_epi64x(static_cast<int64_t>(kMultiplier & 0xffffffff));
  const __m256i high = _mm256_set1_epi64x(static_cast<int64_t>(kMultiplier >> 32));
  __m256i crossed =
      _mm256_add_epi64(_mm256_mul_epu32(value, high), _mm256_mul_epu32(_mm256_srli_epi64(value, 32), low));
  return _mm256_add_epi64(_mm256_mul_epu32(value, low), _mm256_slli_epi64(crossed, 32));
}

// int64 to double, rounded once. The low half goes into the mantissa of 2^52, the high half with its sign bit turned
// into that of 2^84; the difference to 2^84 + 2^63 + 2^52 of the latter is exact, so that only the last sum rounds.
AVX2 inline __m256d to_double(__m256i value) {
  const __m256i two52 = _mm256_set1_epi64x(0x4330000000000000);
  const __m256i two84_two63 = _mm256_set1_epi64x(0x4530000080000000);
  const __m256d two84_two63_two52 = _mm256_castsi256_pd(_mm256_set1_epi64x(0x4530000080100000));
  __m256i low = _mm256_blend_epi32(two52, value, 0b01010101);
  __m256i high = _mm256_xor_si256(_mm256_srli_epi64(value, 32), two84_two63);
  return _mm256_add_pd(_mm256_sub_pd(_mm256_castsi256_pd(high), two84_two63_two52), _mm256_castsi256_pd(low));
}

AVX2 void sum_avx2(const uint32_t* seeds, size_t seed_count, Features features, double* sums) {
  const __m256i k2 = _mm256_set1_epi64x(static_cast<int64_t>(kFarm2));
  size_t s = 0;
  for (; s + 4 <= seed_count; s += 4) {
    __m256i seed = _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(seeds + s)));
    __m256i rotated = _mm256_slli_epi64(seed, 27);  // rotr by 37, as the upper half is empty
    __m256i seed_part = _mm256_add_epi64(_mm256_add_epi64(times_multiplier(rotated), seed), k2);
    __m256d sum = _mm256_setzero_pd();
    for (size_t i = 0; i < features.size; ++i) {
      uint64_t half = feature_half(features.ids[i]);
      __m256i word = _mm256_or_si256(seed, _mm256_set1_epi64x(static_cast<int64_t>(half)));
      __m256i c = _mm256_add_epi64(seed_part, _mm256_set1_epi64x(static_cast<int64_t>(own_part(half))));
      __m256i a = _mm256_add_epi64(word, k2);
      __m256i turned = _mm256_or_si256(_mm256_srli_epi64(a, 25), _mm256_slli_epi64(a, 39));
      __m256i d = times_multiplier(_mm256_add_epi64(turned, word));
      a = times_multiplier(_mm256_xor_si256(c, d));
      a = _mm256_xor_si256(a, _mm256_srli_epi64(a, 47));
      __m256i b = times_multiplier(_mm256_xor_si256(d, a));
      b = times_multiplier(_mm256_xor_si256(b, _mm256_srli_epi64(b, 47)));
      __m256d weight = _mm256_set1_pd(features.weights[i]);
      sum = _mm256_add_pd(sum, _mm256_mul_pd(weight, to_double(b)));
    }
    _mm256_storeu_pd(sums + s, sum);
  }
  sum_portable(seeds + s, seed_count - s, features, sums + s);
}

// ------------------------------------------------------------------------------------------------------- 8 at a time

#define AVX512 __attribute__((target("avx512f,avx512dq")))

// What 8 seeds add to, feature by feature.
struct Octet {
  __m512i seed;
  __m512i seed_part;
  __m512d sum;
};

AVX512 inline Octet octet_of(const uint32_t* seeds) {
  const __m512i multiplier = _mm512_set1_epi64(static_cast<int64_t>(kMultiplier));
  __m512i seed = _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(seeds)));
  __m512i part = _mm512_add_epi64(_mm512_mullo_epi64(_mm512_ror_epi64(seed, 37), multiplier), seed);
  return {seed, _mm512_add_epi64(part, _mm512_set1_epi64(static_cast<int64_t>(kFarm2))), _mm512_setzero_pd()};
}

AVX512 inline void add_feature(Octet& octet, __m512i half, __m512i half_part, __m512d weight) {
  const __m512i k2 = _mm512_set1_epi64(static_cast<int64_t>(kFarm2));
  const __m512i multiplier = _mm512_set1_epi64(static_cast<int64_t>(kMultiplier));
  __m512i word = _mm512_or_si512(octet.seed, half);
  __m512i c = _mm512_add_epi64(octet.seed_part, half_part);
  __m512i turned = _mm512_ror_epi64(_mm512_add_epi64(word, k2), 25);
  __m512i d = _mm512_mullo_epi64(_mm512_add_epi64(turned, word), multiplier);
  __m512i a = _mm512_mullo_epi64(_mm512_xor_si512(c, d), multiplier);
  a = _mm512_xor_si512(a, _mm512_srli_epi64(a, 47));
  __m512i b = _mm512_mullo_epi64(_mm512_xor_si512(d, a), multiplier);
  b = _mm512_mullo_epi64(_mm512_xor_si512(b, _mm512_srli_epi64(b, 47)), multiplier);
  octet.sum = _mm512_add_pd(octet.sum, _mm512_mul_pd(weight, _mm512_cvtepi64_pd(b)));
}

// Several octets at a time hide the latency of the multiplications, and share what depends on the feature alone.
AVX512 void sum_avx512(const uint32_t* seeds, size_t seed_count, Features features, double* sums) {
  constexpr size_t kOctets = 3;
  size_t s = 0;
  for (; s + 8 * kOctets <= seed_count; s += 8 * kOctets) {
    Octet octets[kOctets];
    for (size_t o = 0; o < kOctets; ++o) octets[o] = octet_of(seeds + s + 8 * o);
    for (size_t i = 0; i < features.size; ++i) {
      uint64_t half = feature_half(features.ids[i]);
      __m512i halves = _mm512_set1_epi64(static_cast<int64_t>(half));
      __m512i half_parts = _mm512_set1_epi64(static_cast<int64_t>(own_part(half)));
      __m512d weight = _mm512_set1_pd(features.weights[i]);
#pragma GCC unroll 4
      for (size_t o = 0; o < kOctets; ++o) add_feature(octets[o], halves, half_parts, weight);
    }
    for (size_t o = 0; o < kOctets; ++o) _mm512_storeu_pd(sums + s + 8 * o, octets[o].sum);
  }
  sum_portable(seeds + s, seed_count - s, features, sums + s);
}

#endif

struct Implementation {
  ProjectionKernel kernel;
  bool supported;
};

Implementation implementation(Instructions instructions) {
#ifdef __x86_64__
  if (instructions == Instructions::kAvx2) return {sum_avx2, __builtin_cpu_supports("avx2") != 0};
  if (instructions == Instructions::kAvx512) {
    return {sum_avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")};
  }
#endif
  return {sum_portable, instructions == Instructions::kPortable};
}

}  // namespace

bool is_supported(Instructions instructions) {
  return implementation(instructions).supported;
}
ProjectionKernel projection_kernel(Instructions instructions) {
  return implementation(instructions).kernel;
}

Instructions best_instructions() {
  for (Instructions instructions : {Instructions::kAvx512, Instructions::kAvx2}) {
    if (is_supported(instructions)) return instructions;
  }
  return Instructions::kPortable;
}

}  // namespace predictor::smart_reply
