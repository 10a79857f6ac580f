#include "kernels/packed_int4.h"

#include <algorithm>
#include <cmath>

#include "check.h"

namespace predictor::tests {

namespace {

using kernels::Instructions;
using kernels::PackedInt4Matrix;

constexpr size_t kGroup = PackedInt4Matrix::kGroup;

// Rows of whole numbers with what goes with them.
struct Rows {
  Rows(size_t rows, const PackedInt4Matrix& matrix, size_t in)
      : count(rows), x(random_int8(rows * matrix.in_features())), offsets(rows * matrix.groups()) {
    for (size_t row = 0; row < rows; ++row) {
      int8_t* const numbers = x.data() + row * matrix.in_features();
      std::fill(numbers + in, numbers + matrix.in_features(), int8_t{0});
      kernels::group_offsets(numbers, matrix.groups(), offsets.data() + row * matrix.groups());
    }
  }

  // In two parts, as two threads share the blocks.
  std::vector<float> times(const PackedInt4Matrix& matrix) const {
    std::vector<float> y(count * matrix.out_features());
    const size_t half = matrix.blocks() / 2;
    matrix.multiply(x.data(), offsets.data(), count, half, matrix.blocks(), y.data());
    matrix.multiply(x.data(), offsets.data(), count, 0, half, y.data());
    return y;
  }

  size_t count;
  std::vector<int8_t> x;
  std::vector<int32_t> offsets;
};

// The weights as the matrix has them, [in, out]: its products with the rows of a unit matrix.
std::vector<float> unpacked(const PackedInt4Matrix& matrix, size_t in) {
  Rows units(in, matrix, in);
  std::fill(units.x.begin(), units.x.end(), int8_t{0});
  for (size_t i = 0; i < in; ++i) {
    units.x[i * matrix.in_features() + i] = 1;
    kernels::group_offsets(units.x.data() + i * matrix.in_features(), matrix.groups(),
                           units.offsets.data() + i * matrix.groups());
  }
  return units.times(matrix);
}

void test_group_offsets() {
  const std::vector<int8_t> x = random_int8(4 * kGroup);
  std::vector<int32_t> offsets(4);
  kernels::group_offsets(x.data(), 4, offsets.data());
  for (size_t group = 0; group < 4; ++group) {
    int sum = 0;
    for (size_t i = 0; i < kGroup; ++i) sum += x[group * kGroup + i];
    check(offsets[group] == -8 * sum, "group_offsets");
  }
}

// No weight is further from what it was than half a step of its group, whose largest one may be cut off a little.
void test_rounding(const std::vector<float>& weight, const std::vector<float>& found, size_t in, size_t out) {
  double error = 0;
  double size = 0;
  for (size_t column = 0; column < out; ++column) {
    for (size_t first = 0; first < in; first += kGroup) {
      float most = 0;
      const size_t end = std::min(in, first + kGroup);
      for (size_t i = first; i < end; ++i) most = std::max(most, std::abs(weight[column * in + i]));
      for (size_t i = first; i < end; ++i) {
        const float off = std::abs(weight[column * in + i] - found[i * out + column]);
        check(off <= 0.31f * most, "a weight in 4 bits");
        error += static_cast<double>(off) * static_cast<double>(off);
        size += static_cast<double>(weight[column * in + i]) * static_cast<double>(weight[column * in + i]);
      }
    }
  }
  if (in * out > 10'000) check(std::sqrt(error / size) < 0.085, "weights in 4 bits");
}

void test_shape(size_t in, size_t out) {
  const std::vector<float> weight = random_floats(in * out, 0.02f);
  std::vector<float> first_found;
  for (const Instructions instructions :
       {Instructions::baseline, Instructions::avx2, Instructions::avx512, Instructions::avx512_vnni}) {
    if (instructions > kernels::processor_instructions()) continue;
    PackedInt4Matrix matrix(in, out, instructions);
    const size_t half = out / 2;
    matrix.pack(half, weight.data() + half * in, out - half);
    matrix.pack(0, weight.data(), half);
    const std::vector<float> found = unpacked(matrix, in);
    if (first_found.empty()) {
      first_found = found;
      digest(found);
      test_rounding(weight, found, in, out);
    }
    check(found == first_found, "all instruction sets multiply alike in 4 bits");
    for (size_t column = 0; column < out; ++column) {
      double sum = 0;
      for (size_t i = 0; i < in; ++i) sum += static_cast<double>(found[i * out + column]);
      check(std::abs(sum - static_cast<double>(matrix.column_sums()[column])) < 1e-4, "column_sums");
    }
    for (const size_t rows : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 17}) {
      const Rows x(rows, matrix, in);
      const std::vector<float> y = x.times(matrix);
      std::vector<double> expected;
      for (size_t row = 0; row < rows; ++row) {
        for (size_t column = 0; column < out; ++column) {
          double sum = 0;
          for (size_t i = 0; i < in; ++i) {
            sum += x.x[row * matrix.in_features() + i] * static_cast<double>(found[i * out + column]);
          }
          expected.push_back(sum);
        }
      }
      check_close(y, expected, 1e-4, "the product in 4 bits, " + std::to_string(in) + " x " + std::to_string(out));
      std::vector<float> alone(out);
      for (size_t row = 0; row < rows; ++row) {
        matrix.multiply(x.x.data() + row * matrix.in_features(), x.offsets.data() + row * matrix.groups(), 1, 0,
                        matrix.blocks(), alone.data());
        check(std::equal(alone.begin(), alone.end(), y.begin() + static_cast<long>(row * out)),
              "a row in 4 bits depends on the others");
      }
    }
  }
}

// What is made of whole numbers of 4 bits, as other tools' quantised files are, stays what it was.
void test_whole_numbers() {
  const size_t in = 128;
  const size_t out = 64;
  const std::vector<int8_t> draws = random_int8(in * out);
  for (const float scale : {0.0117f, -0.3f, 5e-5f}) {
    std::vector<float> weight;
    for (size_t i = 0; i < in * out; ++i) {
      const int most = 1 + static_cast<int>(i / kGroup % 8);
      const int whole = std::clamp(draws[i] % (most + 1), -most, std::min(most, 7));
      weight.push_back(static_cast<float>(whole) * scale);
    }
    PackedInt4Matrix matrix(in, out, kernels::processor_instructions());
    matrix.pack(0, weight.data(), out);
    const std::vector<float> found = unpacked(matrix, in);
    for (size_t column = 0; column < out; ++column) {
      for (size_t i = 0; i < in; ++i) {
        const float number = weight[column * in + i];
        check(std::abs(found[i * out + column] - number) <= 0.004f * std::abs(number), "a whole number of 4 bits");
      }
    }
  }
}

void test_extremes() {
  const size_t in = 96;
  const size_t out = 18;
  for (const Instructions instructions : {Instructions::baseline, Instructions::avx2, Instructions::avx512_vnni}) {
    if (instructions > kernels::processor_instructions()) continue;
    for (const float sign : {-1.0f, 0.0f, 1.0f}) {
      PackedInt4Matrix matrix(in, out, instructions);
      matrix.pack(0, std::vector<float>(in * out, sign).data(), out);
      Rows x(1, matrix, in);
      std::fill(x.x.begin(), x.x.end(), int8_t{-127});
      kernels::group_offsets(x.x.data(), matrix.groups(), x.offsets.data());
      for (const float number : x.times(matrix)) {
        check(std::abs(number + sign * 127 * in) <= 127 * in * 0.01f, "the largest sums in 4 bits");
      }
    }
    for (const float strange : {NAN, INFINITY, -INFINITY}) {
      std::vector<float> weight = random_floats(in * out);
      weight[5] = strange;
      PackedInt4Matrix matrix(in, out, instructions);
      matrix.pack(0, weight.data(), out);
      check(!std::isfinite(Rows(1, matrix, in).times(matrix)[0]), "a weight that is not finite is not hidden");
    }
  }
}

void test_finish() {
  for (const size_t size : {1, 15, 16, 40}) {
    const std::vector<float> sums = random_floats(size);
    const std::vector<float> column_sums = random_floats(size);
    const std::vector<float> bias = random_floats(size);
    for (const bool biased : {false, true}) {
      std::vector<float> found = sums;
      kernels::finish_int4_row(found.data(), 0.5f, 3, column_sums.data(), biased ? bias.data() : nullptr, size);
      std::vector<double> expected;
      for (size_t i = 0; i < size; ++i) {
        const double sum = static_cast<double>(sums[i]) * 0.5 + 3 * static_cast<double>(column_sums[i]);
        expected.push_back(sum + (biased ? static_cast<double>(bias[i]) : 0));
      }
      digest(found);
      check_close(found, expected, 1e-5, "finish_int4_row");
    }
  }
}

}  // namespace

void test_packed_int4() {
  test_group_offsets();
  test_finish();
  for (const size_t in : {1, 31, 32, 33, 64, 300}) {
    for (const size_t out : {1, 15, 16, 17, 50}) test_shape(in, out);
  }
  test_shape(512, 48);
  test_whole_numbers();
  test_extremes();
}

}  // namespace predictor::tests
