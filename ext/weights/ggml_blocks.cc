#include "weights/ggml_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace predictor {

namespace {

constexpr size_t kSmall = 32;   // numbers in a block of Q4_0 and its like
constexpr size_t kSuper = 256;  // the same of those whose name ends in _K

// A number of IEEE 754's half precision.
float half_at(const char* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  float magnitude =
      std::ldexp(static_cast<float>(exponent == 0 ? fraction : fraction + 1024), std::max(exponent, 1) - 25);
  if (exponent == 31) magnitude = fraction == 0 ? INFINITY : std::numeric_limits<float>::quiet_NaN();
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

const uint8_t* bytes_at(const char* from) {
  return reinterpret_cast<const uint8_t*>(from);
}

int low(uint8_t byte) {
  return byte & 0xF;
}
int high(uint8_t byte) {
  return byte >> 4;
}

// scale, 16 bytes with two numbers each: the first half's in the low bits.
void read_q4_0(const char* block, float* to) {
  const float scale = half_at(block);
  const uint8_t* const packed = bytes_at(block + 2);
  for (size_t i = 0; i < kSmall / 2; ++i) {
    to[i] = scale * static_cast<float>(low(packed[i]) - 8);
    to[i + kSmall / 2] = scale * static_cast<float>(high(packed[i]) - 8);
  }
}

// scale, least number, 16 bytes.
void read_q4_1(const char* block, float* to) {
  const float scale = half_at(block);
  const float least = half_at(block + 2);
  const uint8_t* const packed = bytes_at(block + 4);
  for (size_t i = 0; i < kSmall / 2; ++i) {
    to[i] = scale * static_cast<float>(low(packed[i])) + least;
    to[i + kSmall / 2] = scale * static_cast<float>(high(packed[i])) + least;
  }
}

// The fifth bits of 32 numbers, then their four lower ones.
template <typename Number>
void read_five_bits(const char* from, float* to, const Number& number) {
  uint32_t fifth;
  std::memcpy(&fifth, from, sizeof fifth);
  const uint8_t* const packed = bytes_at(from + sizeof fifth);
  const auto bit = [&](size_t i) { return static_cast<int>(fifth >> i & 1) << 4; };
  for (size_t i = 0; i < kSmall / 2; ++i) {
    to[i] = number(low(packed[i]) | bit(i));
    to[i + kSmall / 2] = number(high(packed[i]) | bit(i + kSmall / 2));
  }
}

void read_q5_0(const char* block, float* to) {
  const float scale = half_at(block);
  read_five_bits(block + 2, to, [=](int number) { return scale * static_cast<float>(number - 16); });
}

void read_q5_1(const char* block, float* to) {
  const float scale = half_at(block);
  const float least = half_at(block + 2);
  read_five_bits(block + 4, to, [=](int number) { return scale * static_cast<float>(number) + least; });
}

void read_q8_0(const char* block, float* to) {
  const float scale = half_at(block);
  const auto* const numbers = reinterpret_cast<const int8_t*>(block + 2);
  for (size_t i = 0; i < kSmall; ++i) to[i] = scale * static_cast<float>(numbers[i]);
}

// 16 scales and least numbers of four bits, 64 bytes with four numbers each, their common factors.
void read_q2_k(const char* block, float* to) {
  const uint8_t* const scales = bytes_at(block);
  const uint8_t* packed = bytes_at(block + 16);
  const float scale = half_at(block + 80);
  const float least = half_at(block + 82);
  size_t part = 0;
  for (size_t half = 0; half < 2; ++half, packed += 32) {
    for (int shift = 0; shift < 8; shift += 2) {
      for (size_t first = 0; first < 32; first += 16, ++part) {
        const float by = scale * static_cast<float>(low(scales[part]));
        const float less = least * static_cast<float>(high(scales[part]));
        for (size_t i = 0; i < 16; ++i) *to++ = by * static_cast<float>(packed[first + i] >> shift & 3) - less;
      }
    }
  }
}

// 32 bytes with the third bits, 64 with two lower bits of four numbers each, 12 with 16 scales of six bits, the factor.
void read_q3_k(const char* block, float* to) {
  const uint8_t* const third = bytes_at(block);
  const uint8_t* packed = bytes_at(block + 32);
  const uint8_t* const scales = bytes_at(block + 96);
  const float scale = half_at(block + 108);
  const auto scale_of = [&](size_t part) {
    const int four = part < 8 ? low(scales[part]) : high(scales[part - 8]);
    const int two = scales[8 + part % 4] >> (2 * (part / 4)) & 3;
    return scale * static_cast<float>((four | two << 4) - 32);
  };
  size_t part = 0;
  int bit = 0;
  for (size_t half = 0; half < 2; ++half, packed += 32) {
    for (int shift = 0; shift < 8; shift += 2, ++bit) {
      for (size_t first = 0; first < 32; first += 16, ++part) {
        const float by = scale_of(part);
        for (size_t i = first; i < first + 16; ++i) {
          const int number = (packed[i] >> shift & 3) - ((third[i] >> bit & 1) != 0 ? 0 : 4);
          *to++ = by * static_cast<float>(number);
        }
      }
    }
  }
}

// Of the eight scales and least numbers of six bits that lie in 12 bytes.
struct SixBits {
  int scale;
  int least;
};

SixBits six_bits(const uint8_t* from, size_t part) {
  if (part < 4) return {from[part] & 63, from[part + 4] & 63};
  return {low(from[part + 4]) | (from[part - 4] >> 6) << 4, high(from[part + 4]) | (from[part] >> 6) << 4};
}

// The common factors, 12 bytes of scales, 128 bytes with two numbers each.
void read_q4_k(const char* block, float* to) {
  const float scale = half_at(block);
  const float least = half_at(block + 2);
  const uint8_t* const scales = bytes_at(block + 4);
  const uint8_t* packed = bytes_at(block + 16);
  for (size_t part = 0; part < 8; ++part) {
    const SixBits own = six_bits(scales, part);
    const float by = scale * static_cast<float>(own.scale);
    const float less = least * static_cast<float>(own.least);
    const bool is_high = part % 2 == 1;
    for (size_t i = 0; i < 32; ++i) {
      *to++ = by * static_cast<float>(is_high ? high(packed[i]) : low(packed[i])) - less;
    }
    if (is_high) packed += 32;
  }
}

// The same with 32 bytes of the fifth bits before the lower ones.
void read_q5_k(const char* block, float* to) {
  const float scale = half_at(block);
  const float least = half_at(block + 2);
  const uint8_t* const scales = bytes_at(block + 4);
  const uint8_t* const fifth = bytes_at(block + 16);
  const uint8_t* packed = bytes_at(block + 48);
  for (size_t part = 0; part < 8; ++part) {
    const SixBits own = six_bits(scales, part);
    const float by = scale * static_cast<float>(own.scale);
    const float less = least * static_cast<float>(own.least);
    const bool is_high = part % 2 == 1;
    for (size_t i = 0; i < 32; ++i) {
      const int four = is_high ? high(packed[i]) : low(packed[i]);
      *to++ = by * static_cast<float>(four | (fifth[i] >> part & 1) << 4) - less;
    }
    if (is_high) packed += 32;
  }
}

// 128 bytes with four lower bits, 64 with two upper ones, 16 scales, the factor.
void read_q6_k(const char* block, float* to) {
  const uint8_t* lower = bytes_at(block);
  const uint8_t* upper = bytes_at(block + 128);
  const auto* scales = reinterpret_cast<const int8_t*>(block + 192);
  const float scale = half_at(block + 208);
  for (size_t half = 0; half < 2; ++half, lower += 64, upper += 32, scales += 8) {
    for (size_t row = 0; row < 4; ++row) {
      for (size_t i = 0; i < 32; ++i) {
        const uint8_t byte = lower[i + 32 * (row % 2)];
        const int four = row < 2 ? low(byte) : high(byte);
        const int number = (four | (upper[i] >> (2 * row) & 3) << 4) - 32;
        *to++ = scale * static_cast<float>(scales[2 * row + i / 16]) * static_cast<float>(number);
      }
    }
  }
}

struct Type {
  std::string_view name;
  GgmlBlocks blocks;
};

constexpr std::array<Type, 10> kTypes = {{
    {"Q4_0", {kSmall, 18, read_q4_0}},
    {"Q4_1", {kSmall, 20, read_q4_1}},
    {"Q5_0", {kSmall, 22, read_q5_0}},
    {"Q5_1", {kSmall, 24, read_q5_1}},
    {"Q8_0", {kSmall, 34, read_q8_0}},
    {"Q2_K", {kSuper, 84, read_q2_k}},
    {"Q3_K", {kSuper, 110, read_q3_k}},
    {"Q4_K", {kSuper, 144, read_q4_k}},
    {"Q5_K", {kSuper, 176, read_q5_k}},
    {"Q6_K", {kSuper, 210, read_q6_k}},
}};

}  // namespace

const GgmlBlocks* ggml_blocks(std::string_view dtype) {
  for (const Type& type : kTypes) {
    if (type.name == dtype) return &type.blocks;
  }
  return nullptr;
}

std::string ggml_block_types() {
  std::string names;
  for (const Type& type : kTypes) names += (names.empty() ? "" : ", ") + std::string(type.name);
  return names;
}

}  // namespace predictor
