#include "kernels/packed_int4.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/int4_loops.h"
#include "kernels/row_passes.h"
#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

constexpr int kMiddle = 8;  // is added to what is packed

uint16_t upper_half(float number) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}

// To the nearest bfloat16.
float rounded_to_bfloat16(float number) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  std::memcpy(&number, &bits, sizeof bits);
  return number;
}

// A group as whole numbers of -8 to 7 times what comes back, each with kMiddle added: of some scales about the one that
// makes the largest number -8, and those that make it 7, 6, 5 or 4, the one with the least squared error. So what
// consists of such whole numbers already stays as it is, but for the scale's rounding: if the largest one is less, two
// or more times as much is one of these. NaN where a number is not finite.
struct QuantizeGroup {
  static constexpr int kAbout = 15;
  static constexpr int kScales = kAbout + 4;

  static float scale(float largest, int i) {
    const auto number = static_cast<float>(i);
    return rounded_to_bfloat16(i < kAbout ? largest / -8 * (0.7f + 0.025f * number) : largest / (7 + kAbout - number));
  }

  template <typename Floats>
  PREDICTOR_INLINE static float run(const float* x, uint8_t* out) {
    Floats low_half;
    Floats high_half;
    load(low_half, x);
    load(high_half, x + kVectorSize);
    const float strange = sum(low_half * 0.0f + high_half * 0.0f);  // 0, or NaN
    Floats most;
    take_max(low_half, high_half, most);
    const float high = max_lane(most);
    take_max(-low_half, -high_half, most);
    const float low = max_lane(most);
    const float largest = high > low ? high : -low;
    float best_scale = 0;
    float least = 0;
    for (int i = 0; i < kScales; ++i) {
      const float tried = scale(largest, i);
      const float error = squared_error(low_half, tried) + squared_error(high_half, tried);
      if (i > 0 && !(error < least)) continue;
      least = error;
      best_scale = tried;
    }
    if (!(strange == 0)) best_scale = strange;
    typename LanesOf<Floats>::Ints whole;
    typename LanesOf<Floats>::Bytes bytes;
    for (Floats* half : {&low_half, &high_half}) {
      Floats v = *half;
      divide(v, best_scale);
      convert(v, whole);
      convert(whole + kMiddle, bytes);
      store(bytes, out);
      out += kVectorSize;
    }
    return best_scale;
  }

  template <typename Floats>
  PREDICTOR_INLINE static void divide(Floats& v, float scale) {
    v = v * (scale != 0 ? 1 / scale : 0);
    round(v);
    Floats limit;
    fill(limit, 7.0f);
    select(v > limit, limit, v, v);
    fill(limit, -8.0f);
    select(v < limit, limit, v, v);
  }

  template <typename Floats>
  PREDICTOR_INLINE static float squared_error(const Floats& x, float scale) {
    Floats v = x;
    divide(v, scale);
    v = x - v * scale;
    return sum(v * v);
  }
};

struct GroupOffsets {
  template <typename Floats>
  PREDICTOR_INLINE static void run(const int8_t* x, size_t groups, int32_t* out) {
    typename LanesOf<Floats>::Bytes bytes;
    typename LanesOf<Floats>::Ints whole;
    Floats v;
    for (size_t group = 0; group < groups; ++group, x += PackedInt4Matrix::kGroup) {
      float total = -128.0f * PackedInt4Matrix::kGroup;
      for (size_t i = 0; i < PackedInt4Matrix::kGroup; i += kVectorSize) {
        load(bytes, reinterpret_cast<const uint8_t*>(x) + i);
        convert(bytes + uint8_t{128}, whole);
        convert(whole, v);
        total += sum(v);
      }
      out[group] = -kMiddle * static_cast<int32_t>(total);
    }
  }
};

struct FinishInt4Row {
  template <typename Floats>
  PREDICTOR_INLINE static void run(float* sums, float scale, float middle, const float* column_sums, const float* bias,
                                   size_t size) {
    Floats v;
    Floats w;
    for (size_t i = 0; i < size; i += kVectorSize) {
      load_up_to(v, sums + i, size - i, 0.0f);
      load_up_to(w, column_sums + i, size - i, 0.0f);
      v = v * scale + w * middle;
      if (bias != nullptr) {
        load_up_to(w, bias + i, size - i, 0.0f);
        v += w;
      }
      store_up_to(v, sums + i, size - i);
    }
  }
};

}  // namespace

PackedInt4Matrix::PackedInt4Matrix(size_t in, size_t out, Instructions instructions)
    : in_(in),
      out_(out),
      groups_((in + kGroup - 1) / kGroup),
      instructions_(instructions),
      column_sums_(out),
      matrix_(blocks() * block_bytes()) {}

void PackedInt4Matrix::pack(size_t first, const float* rows, size_t count) {
  std::array<float, kGroup> numbers;
  std::array<uint8_t, kGroup> whole;
  for (size_t column = first; column < first + count; ++column, rows += in_) {
    char* const block = matrix_.data() + column / kBlockColumns * block_bytes();
    char* const scales = block + groups_ * kGroup * kBlockColumns / 2;
    const size_t place = column % kBlockColumns;
    float sum = 0;
    for (size_t group = 0; group < groups_; ++group) {
      const size_t there = std::min(kGroup, in_ - group * kGroup);
      numbers.fill(0);
      std::copy_n(rows + group * kGroup, there, numbers.begin());
      const float scale = dispatch<QuantizeGroup, const float*, uint8_t*>(numbers.data(), whole.data());
      const uint16_t bits = upper_half(scale);
      std::memcpy(scales + (group * kBlockColumns + place) * sizeof bits, &bits, sizeof bits);
      int total = 0;
      for (size_t i = 0; i < kGroup; ++i) total += whole[i] - kMiddle;
      sum += static_cast<float>(total) * scale;
      for (size_t i = 0; i < kGroup; i += 8) {
        auto* const to = reinterpret_cast<uint8_t*>(block) + ((group * kGroup + i) / 8 * kBlockColumns + place) * 4;
        for (size_t byte = 0; byte < 4; ++byte) {
          to[byte] = static_cast<uint8_t>((whole[i + byte] & 15) | (whole[i + 4 + byte] & 15) << 4);
        }
      }
    }
    column_sums_[column] = sum;
  }
}

template <typename Loop>
void PackedInt4Matrix::multiply_by(const int8_t* x, const int32_t* offsets, size_t rows, size_t begin, size_t end,
                                   float* y) const {
  for (size_t block = begin; block < end; ++block) {
    const char* const matrix = matrix_.data() + block * block_bytes();
    const size_t column = block * kBlockColumns;
    Int4Block part{matrix, matrix + groups_ * kGroup * kBlockColumns / 2, groups_, out_,
                   std::min(kBlockColumns, out_ - column)};
    size_t row = 0;
    in_passes<Loop::kRows>(rows, [&]<size_t Rows>() {
      Loop::template multiply<Rows>(part, x + row * in_features(), offsets + row * groups_, y + row * out_ + column);
      row += Rows;
    });
  }
}

void PackedInt4Matrix::multiply(const int8_t* x, const int32_t* offsets, size_t rows, size_t begin, size_t end,
                                float* y) const {
#if defined(__x86_64__)
  if (instructions_ >= Instructions::avx512_vnni) return multiply_by<Avx512Int4>(x, offsets, rows, begin, end, y);
  if (instructions_ >= Instructions::avx2) return multiply_by<Avx2Int4>(x, offsets, rows, begin, end, y);
#endif
  multiply_by<BaselineInt4>(x, offsets, rows, begin, end, y);
}

void group_offsets(const int8_t* x, size_t groups, int32_t* out) {
  dispatch<GroupOffsets>(x, groups, out);
}

void finish_int4_row(float* sums, float scale, float middle, const float* column_sums, const float* bias, size_t size) {
  dispatch<FinishInt4Row>(sums, scale, middle, column_sums, bias, size);
}

}  // namespace predictor::kernels
