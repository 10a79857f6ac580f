#include "kernels/quantization.h"

#include <cmath>

#include "check.h"

namespace predictor::tests {

namespace {

void test_quantize(const std::vector<float>& x, int offset) {
  std::vector<uint8_t> out(x.size());
  const float scale = kernels::quantize_row(x.data(), x.size(), offset, out.data());
  float most = 0;
  for (const float number : x) most = std::max(most, std::abs(number));
  check(std::abs(scale - most / 127) <= 1e-6f * scale, "quantize_row's scale");
  for (size_t i = 0; i < x.size(); ++i) {
    const int whole = static_cast<int>(out[i]) - offset;
    const int number = offset == 0 && whole > 127 ? whole - 256 : whole;
    check(number >= -127 && number <= 127, "quantize_row gives numbers of int8");
    check(std::abs(static_cast<float>(number) * scale - x[i]) <= scale * 0.501f, "quantize_row rounds to the nearest");
  }
  digest({&scale, 1});
}

void test_dequantize(size_t size, bool biased) {
  std::vector<int32_t> sums(size);
  std::vector<double> expected;
  const std::vector<float> scales = random_floats(size);
  const std::vector<float> bias = random_floats(size);
  const std::vector<int8_t> numbers = random_int8(size);
  for (size_t i = 0; i < size; ++i) {
    sums[i] = numbers[i] * 16'000'000;  // beyond what a float holds exactly
    const double product = static_cast<double>(sums[i]) * static_cast<double>(scales[i]) * 1e-4;
    expected.push_back(product + (biased ? static_cast<double>(bias[i]) : 0));
  }
  std::vector<float> out(size);
  kernels::dequantize_row(sums.data(), scales.data(), 1e-4f, biased ? bias.data() : nullptr, size, out.data());
  digest(out);
  check_close(out, expected, 1e-5, "dequantize_row of " + std::to_string(size));
}

}  // namespace

void test_quantization() {
  for (const size_t size : {1, 2, 15, 16, 17, 31, 32, 33, 255, 768}) {
    test_quantize(random_floats(size), 128);
    test_quantize(random_floats(size, 1e-20f), 128);
    test_quantize(random_floats(size, 1e20f), 128);
    test_quantize(std::vector<float>(size, 0), 128);
    test_quantize(std::vector<float>(size, -3), 128);
    test_dequantize(size, true);
    test_dequantize(size, false);
    for (const float strange : {NAN, INFINITY, -INFINITY}) {
      std::vector<float> x = random_floats(size);
      x[size / 2] = strange;
      std::vector<uint8_t> out(size);
      const float scale = kernels::quantize_row(x.data(), size, 128, out.data());
      check(!std::isfinite(scale), "quantize_row's scale tells of what is no finite number");
    }
  }
  kernels::dequantize_row(nullptr, nullptr, 1, nullptr, 0, nullptr);
}

}  // namespace predictor::tests
