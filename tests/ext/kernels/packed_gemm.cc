#include "kernels/packed_gemm.h"

#include <limits>

#include "check.h"

namespace predictor::tests {

namespace {

using kernels::Instructions;
using kernels::PackedMatrix;

struct Shape {
  size_t in;
  size_t out;
};

constexpr Shape kShapes[] = {{1, 1},   {1, 33},  {2, 31},   {3, 32},   {4, 1},    {5, 64},  {7, 65},
                             {16, 16}, {63, 17}, {64, 100}, {257, 48}, {384, 33}, {1, 320}, {768, 96}};
constexpr size_t kRows[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 17};

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

void test_float32(const Shape& shape, bool biased) {
  const std::vector<float> weight = random_floats(shape.in * shape.out);
  const std::vector<float> bias = random_floats(shape.out);
  const PackedMatrix matrix(weight.data(), shape.in, shape.out, biased ? bias.data() : nullptr);
  std::vector<float> first;
  for (const size_t rows : kRows) {
    std::vector<float> x = random_floats(rows * shape.in);
    if (rows > 0 && !first.empty()) std::copy(first.begin(), first.end(), x.end() - static_cast<long>(shape.in));
    const std::vector<float> y = multiply<float, float>(matrix, x, rows);
    std::vector<double> expected;
    for (size_t row = 0; row < rows; ++row) {
      for (size_t column = 0; column < shape.out; ++column) {
        double sum = biased ? static_cast<double>(bias[column]) : 0;
        for (size_t i = 0; i < shape.in; ++i) {
          sum += static_cast<double>(x[row * shape.in + i]) * static_cast<double>(weight[i * shape.out + column]);
        }
        expected.push_back(sum);
      }
    }
    check_close(y, expected, 1e-4, name("the product of float32", rows, shape));
    if (rows == 1) first = x;
    if (rows == 0) continue;
    // The last row is always the same one: to the last bit, whatever the rows before it.
    static std::vector<float> last_result;
    const std::vector<float> last(y.end() - static_cast<long>(shape.out), y.end());
    if (rows == 1) last_result = last;
    check(last == last_result, name("a row depends on the others in the product of float32", rows, shape));
  }
}

// Exact sums, by every loop that this processor can run.
void test_int8(const Shape& shape, const std::vector<int8_t>& weight, bool extreme) {
  for (const Instructions instructions :
       {Instructions::baseline, Instructions::avx2, Instructions::avx512, Instructions::avx512_vnni}) {
    if (instructions > kernels::processor_instructions()) continue;
    const PackedMatrix matrix(weight.data(), shape.in, shape.out, instructions);
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
    if (kernels::processor_instructions() >= Instructions::avx512) {
      test_float32(shape, true);
      test_float32(shape, false);
    }
    test_int8(shape, random_int8(shape.in * shape.out), false);
    for (const int8_t number : {-128, -127, 127}) {
      test_int8(shape, std::vector<int8_t>(shape.in * shape.out, number), true);
    }
  }
  // As many inputs as there may be, of the largest numbers: the sums just fit 32 bits.
  const Shape longest{PackedMatrix::kMaxInt8Inputs, 2};
  test_int8(longest, std::vector<int8_t>(longest.in * longest.out, 127), true);
}

}  // namespace predictor::tests
