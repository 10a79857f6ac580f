#include "kernels/packed_gemm.h"

#include <algorithm>

#include "check.h"
#include "kernels/bfloat16.h"

namespace predictor::tests {

namespace {

using kernels::Instructions;
using kernels::PackedMatrix;

struct Shape {
  size_t in;
  size_t out;
};

constexpr Shape kShapes[] = {{1, 1},   {1, 33},   {2, 31},   {3, 32},   {4, 1},   {5, 64},   {7, 65}, {16, 16},
                             {63, 17}, {64, 100}, {257, 48}, {384, 33}, {1, 320}, {768, 96}, {67, 40}};
constexpr size_t kRows[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 33};

std::string name(const char* what, size_t rows, const Shape& shape) {
  return std::string(what) + " of " + std::to_string(rows) + " rows, " + std::to_string(shape.in) + " x " +
         std::to_string(shape.out);
}

// In two parts, as two threads share the blocks.
template <typename In, typename Out>
std::vector<Out> multiply(const PackedMatrix& matrix, const std::vector<In>& x, size_t rows) {
  std::vector<Out> y(rows * matrix.out_features());
  const size_t half = matrix.blocks() / 2;
  matrix.multiply(x.data(), rows, half, matrix.blocks(), y.data());
  matrix.multiply(x.data(), rows, 0, half, y.data());
  return y;
}

constexpr Instructions kInstructions[] = {Instructions::baseline,    Instructions::avx2,        Instructions::avx512,
                                          Instructions::avx512_vnni, Instructions::avx512_bf16, Instructions::amx};

// In two parts, as a weight is packed that is long. `weight`: [out, in].
template <typename Number>
PackedMatrix packed(PackedMatrix::Numbers numbers, const std::vector<Number>& weight, const Shape& shape,
                    const std::vector<float>& bias, Instructions instructions) {
  PackedMatrix matrix(numbers, shape.in, shape.out, bias.empty() ? nullptr : bias.data(), instructions);
  const size_t half = shape.out / 2;
  matrix.pack(half, weight.data() + half * shape.in, shape.out - half);
  matrix.pack(0, weight.data(), half);
  return matrix;
}

PackedMatrix packed(const std::vector<float>& weight, const Shape& shape, const std::vector<float>& bias,
                    Instructions instructions) {
  return packed(PackedMatrix::Numbers::float32, weight, shape, bias, instructions);
}

PackedMatrix packed(const std::vector<uint16_t>& weight, const Shape& shape, const std::vector<float>& bias,
                    Instructions instructions) {
  return packed(PackedMatrix::Numbers::bfloat16, weight, shape, bias, instructions);
}

PackedMatrix packed(const std::vector<int8_t>& weight, const Shape& shape, Instructions instructions) {
  return packed(PackedMatrix::Numbers::int8, weight, shape, {}, instructions);
}

// `weight_at`: of a row and a column. The last row of x is the same in all calls: to the last bit, whatever is before.
template <typename Number, typename WeightAt>
void test_floats(const PackedMatrix& matrix, const Shape& shape, const std::vector<float>& bias, const char* what,
                 const WeightAt& weight_at, std::vector<Number> (*random)(size_t), float (*to_float)(Number)) {
  const std::vector<Number> last_row = random(matrix.in_features());
  std::vector<float> last_result;
  for (const size_t rows : kRows) {
    std::vector<Number> x = random(rows * matrix.in_features());
    if (rows > 0) std::copy(last_row.begin(), last_row.end(), x.end() - static_cast<long>(last_row.size()));
    const std::vector<float> y = multiply<Number, float>(matrix, x, rows);
    std::vector<double> expected;
    for (size_t row = 0; row < rows; ++row) {
      for (size_t column = 0; column < shape.out; ++column) {
        double sum = bias.empty() ? 0 : static_cast<double>(bias[column]);
        for (size_t i = 0; i < shape.in; ++i) {
          sum += static_cast<double>(to_float(x[row * matrix.in_features() + i])) * weight_at(i, column);
        }
        expected.push_back(sum);
      }
    }
    check_close(y, expected, 1e-4, name(what, rows, shape));
    if (rows == 0) continue;
    const std::vector<float> last(y.end() - static_cast<long>(shape.out), y.end());
    if (last_result.empty()) last_result = last;
    check(last == last_result, name("a row depends on the others:", rows, shape));
  }
}

std::vector<float> random_row(size_t count) {
  return random_floats(count);
}

void test_float32(const Shape& shape, bool biased) {
  const std::vector<float> weight = random_floats(shape.in * shape.out);
  const std::vector<float> bias = biased ? random_floats(shape.out) : std::vector<float>();
  for (const Instructions instructions : kInstructions) {
    if (instructions > kernels::processor_instructions() || instructions < Instructions::avx2) continue;
    const PackedMatrix matrix = packed(weight, shape, bias, instructions);
    const auto weight_at = [&](size_t i, size_t column) { return static_cast<double>(weight[column * shape.in + i]); };
    test_floats<float>(matrix, shape, bias, "the product of float32", weight_at, random_row, [](float x) { return x; });
  }
}

std::vector<uint16_t> random_bfloat16(size_t count) {
  const std::vector<float> numbers = random_floats(count);
  std::vector<uint16_t> rounded(count);
  kernels::float_to_bfloat16(numbers.data(), count, rounded.data());
  return rounded;
}

float bfloat16_number(uint16_t bits) {
  float number;
  kernels::bfloat16_to_float(&bits, 1, &number);
  return number;
}

void test_bfloat16(const Shape& shape, bool biased) {
  const std::vector<uint16_t> weight = random_bfloat16(shape.in * shape.out);
  const std::vector<float> bias = biased ? random_floats(shape.out) : std::vector<float>();
  for (const Instructions instructions : kInstructions) {
    if (instructions > kernels::processor_instructions()) continue;
    const PackedMatrix matrix = packed(weight, shape, bias, instructions);
    check(matrix.in_features() == (shape.in + 1) / 2 * 2, "in_features are whole words");
    const auto weight_at = [&](size_t i, size_t column) {
      return static_cast<double>(bfloat16_number(weight[column * shape.in + i]));
    };
    test_floats<uint16_t>(matrix, shape, bias, "the product of bfloat16", weight_at, random_bfloat16, bfloat16_number);
  }
}

// Many rows are taken in tiles, and long ones in parts: each must be what it is alone.
template <typename In, typename Out>
void test_many_rows(const PackedMatrix& matrix, const std::vector<In>& x, size_t rows) {
  const std::vector<Out> all = multiply<In, Out>(matrix, x, rows);
  std::vector<Out> alone(matrix.out_features());
  for (size_t row = 0; row < rows; ++row) {
    matrix.multiply(x.data() + row * matrix.in_features(), 1, 0, matrix.blocks(), alone.data());
    check(std::equal(alone.begin(), alone.end(), all.begin() + static_cast<long>(row * alone.size())),
          "row " + std::to_string(row) + " of many is what it is alone");
  }
}

void test_many_rows(const Shape& shape, size_t rows) {
  const size_t size = shape.in * shape.out;
  for (const Instructions instructions : kInstructions) {
    if (instructions > kernels::processor_instructions()) continue;
    const PackedMatrix int8 = packed(random_int8(size), shape, instructions);
    test_many_rows<uint8_t, int32_t>(int8, random_bytes(rows * int8.in_features()), rows);
    const PackedMatrix bfloat16 = packed(random_bfloat16(size), shape, {}, instructions);
    test_many_rows<uint16_t, float>(bfloat16, random_bfloat16(rows * bfloat16.in_features()), rows);
    if (instructions < Instructions::avx2) continue;
    const std::vector<float> bias = random_floats(shape.out);
    const PackedMatrix floats = packed(random_floats(size), shape, bias, instructions);
    test_many_rows<float, float>(floats, random_floats(rows * shape.in), rows);
  }
}

// Exact sums, by every loop that this processor can run.
void test_int8(const Shape& shape, const std::vector<int8_t>& weight, bool extreme) {
  for (const Instructions instructions : kInstructions) {
    if (instructions > kernels::processor_instructions()) continue;
    const PackedMatrix matrix = packed(weight, shape, instructions);
    check(matrix.in_features() == (shape.in + 3) / 4 * 4, "in_features are whole words");
    for (const size_t rows : kRows) {
      std::vector<uint8_t> x = random_bytes(rows * matrix.in_features());
      if (extreme) std::fill(x.begin(), x.end(), uint8_t{255});
      const std::vector<int32_t> y = multiply<uint8_t, int32_t>(matrix, x, rows);
      for (size_t row = 0; row < rows; ++row) {
        for (size_t column = 0; column < shape.out; ++column) {
          int64_t sum = 0;
          for (size_t i = 0; i < shape.in; ++i) {
            sum += (x[row * matrix.in_features() + i] - PackedMatrix::kInt8Offset) * weight[column * shape.in + i];
          }
          check(y[row * shape.out + column] == sum, name("the product of int8", rows, shape));
        }
      }
    }
  }
}

}  // namespace

void test_packed_gemm() {
  for (const Shape& shape : kShapes) {
    for (const bool biased : {false, true}) {
      test_float32(shape, biased);
      test_bfloat16(shape, biased);
    }
    test_int8(shape, random_int8(shape.in * shape.out), false);
    for (const int8_t number : {-128, -127, 127}) {
      test_int8(shape, std::vector<int8_t>(shape.in * shape.out, number), true);
    }
  }
  test_many_rows({1000, 50}, 150);
  test_many_rows({3, 70}, 40);
  // As many inputs as there may be, of the largest numbers: the sums just fit 32 bits.
  const Shape longest{PackedMatrix::kMaxInt8Inputs, 2};
  test_int8(longest, std::vector<int8_t>(longest.in * longest.out, 127), true);
}

}  // namespace predictor::tests
