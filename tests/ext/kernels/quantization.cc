#include "kernels/quantization.h"

#include <algorithm>
#include <cmath>

#include "check.h"

namespace predictor::tests {

namespace {

void test_quantize(const std::vector<float>& x) {
  constexpr int kOffset = 128;
  std::vector<uint8_t> out(x.size());
  const kernels::CenteredRow row = kernels::quantize_row(x.data(), x.size(), kOffset, out.data());
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const float range = *high - *low;
  check(std::abs(row.scale - range / 254) <= 1e-6f * row.scale, "quantize_row's scale");
  check(std::abs(row.middle - (*low / 2 + *high / 2)) <= 1e-6f * std::abs(row.middle), "its middle");
  const float rounding = 1e-6f * (std::abs(row.middle) + range);
  for (size_t i = 0; i < x.size(); ++i) {
    const int whole = static_cast<int>(out[i]) - kOffset;
    check(whole >= -127 && whole <= 127, "quantize_row gives numbers of int8");
    const float error = std::abs(static_cast<float>(whole) * row.scale + row.middle - x[i]);
    check(error <= row.scale * 0.501f + rounding, "quantize_row rounds to the nearest");
  }
  const float numbers[] = {row.scale, row.middle};
  digest(numbers);
}

void test_quantize_weights(const std::vector<float>& x) {
  std::vector<int8_t> out(x.size());
  const float scale = kernels::quantize_weights(x.data(), x.size(), out.data());
  float most = 1e-12f;
  for (const float number : x) most = std::max(most, std::abs(number));
  check(scale == most / 127, "quantize_weights' scale");
  for (size_t i = 0; i < x.size(); ++i) {
    check(out[i] == std::nearbyint(x[i] / scale), "quantize_weights rounds to the nearest");
  }
}

std::vector<float> moved(std::vector<float> x, float by) {
  for (float& number : x) number += by;
  return x;
}

// A product in int8 comes close to that of the floats.
void test_centered_product(size_t in, size_t out) {
  const std::vector<float> x = moved(random_floats(in), 3);
  const std::vector<float> bias = random_floats(out);
  const std::vector<float> scales = random_floats(out);
  const std::vector<int8_t> weight = random_int8(in * out);
  std::vector<uint8_t> rounded(in);
  const kernels::CenteredRow row = kernels::quantize_row(x.data(), in, 0, rounded.data());
  std::vector<int32_t> sums(out);
  std::vector<float> column_sums(out);
  std::vector<double> expected(out);
  for (size_t column = 0; column < out; ++column) {
    double sum = 0;
    int column_sum = 0;
    for (size_t i = 0; i < in; ++i) {
      sums[column] += static_cast<int8_t>(rounded[i]) * weight[column * in + i];
      column_sum += weight[column * in + i];
      sum += static_cast<double>(x[i]) * weight[column * in + i];
    }
    column_sums[column] = static_cast<float>(column_sum) * scales[column];
    expected[column] = sum * static_cast<double>(scales[column]) + static_cast<double>(bias[column]);
  }
  std::vector<float> y(out);
  kernels::dequantize_row(sums.data(), scales.data(), column_sums.data(), row, bias.data(), out, y.data());
  digest(y);
  const double most = 0.5 * static_cast<double>(row.scale) * 127 * static_cast<double>(in);
  for (size_t column = 0; column < out; ++column) {
    const double error = std::abs(static_cast<double>(y[column]) - expected[column]);
    check(error <= 1e-3 + most * std::abs(static_cast<double>(scales[column])), "a product in int8");
  }
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
  const std::vector<float> column_sums = random_floats(size);
  for (size_t i = 0; i < size; ++i) expected[i] += 3 * static_cast<double>(column_sums[i]);
  std::vector<float> out(size);
  kernels::dequantize_row(sums.data(), scales.data(), column_sums.data(), {1e-4f, 3}, biased ? bias.data() : nullptr,
                          size, out.data());
  digest(out);
  check_close(out, expected, 1e-5, "dequantize_row of " + std::to_string(size));
}

}  // namespace

void test_quantization() {
  for (const size_t size : {1, 2, 15, 16, 17, 31, 32, 33, 255, 768}) {
    test_quantize(random_floats(size));
    test_quantize(moved(random_floats(size), 5));
    test_quantize_weights(random_floats(size));
    test_quantize_weights(random_floats(size, 1e-20f));
    test_quantize_weights(std::vector<float>(size, 0));
    test_quantize(moved(random_floats(size, 1e-3f), -100));
    test_quantize(random_floats(size, 1e20f));
    test_quantize(std::vector<float>(size, 0));
    test_quantize(std::vector<float>(size, -3));
    test_centered_product(size, 40);
    test_dequantize(size, true);
    test_dequantize(size, false);
    for (const float strange : {NAN, INFINITY, -INFINITY}) {
      std::vector<float> x = random_floats(size);
      x[size / 2] = strange;
      std::vector<uint8_t> out(size);
      const kernels::CenteredRow row = kernels::quantize_row(x.data(), size, 128, out.data());
      check(!std::isfinite(row.scale), "quantize_row's scale tells of what is no finite number");
      std::vector<int8_t> whole(size);
      const float scale = kernels::quantize_weights(x.data(), size, whole.data());
      check(!std::isfinite(scale), "quantize_weights' scale tells of what is no finite number");
    }
  }
  kernels::dequantize_row(nullptr, nullptr, nullptr, {1, 0}, nullptr, 0, nullptr);
}

}  // namespace predictor::tests
