#include "kernels/activations.h"

#include <cfloat>
#include <cmath>
#include <numeric>

#include "check.h"

namespace predictor::tests {

namespace {

constexpr size_t kSizes[] = {1, 2, 15, 16, 17, 31, 32, 33, 64, 255, 1000};

std::vector<double> plain_gelu(std::span<const float> x) {
  std::vector<double> expected;
  for (const float number : x) {
    const double value = static_cast<double>(number);
    const double inner = 0.7978845608028654 * (value + 0.044715 * value * value * value);
    expected.push_back(value / 2 * (1 + std::tanh(inner)));
  }
  return expected;
}

void test_gelu(std::vector<float> x) {
  const std::vector<double> expected = plain_gelu(x);
  kernels::gelu_tanh(x.data(), x.size());
  digest(x);
  check_close(x, expected, 2e-6, "gelu_tanh of " + std::to_string(x.size()));
}

void test_add(size_t size) {
  std::vector<float> x = random_floats(size);
  const std::vector<float> y = random_floats(size);
  std::vector<double> expected;
  for (size_t i = 0; i < size; ++i) expected.push_back(static_cast<double>(x[i] + y[i]));
  kernels::add(x.data(), y.data(), size);
  digest(x);
  check_close(x, expected, 0, "add of " + std::to_string(size));
}

void test_max(size_t size) {
  for (size_t at = 0; at < size; at += 1 + size / 7) {
    std::vector<float> x = random_floats(size);
    x[at] = 100;
    check(kernels::max_value(x.data(), size) == 100, "max_value of " + std::to_string(size));
    for (float& number : x) number = -number;
    check(kernels::max_value(x.data(), size) <= 5 || size == 1 || std::isfinite(x[0]), "max_value of negative numbers");
    x[at] = NAN;
    check(std::isnan(kernels::max_value(x.data(), size)), "max_value sees a NaN at " + std::to_string(at));
  }
  std::vector<float> x(size, -INFINITY);
  check(kernels::max_value(x.data(), size) == -INFINITY, "max_value of infinities");
}

void test_exp_sum(std::vector<float> x) {
  const float max = kernels::max_value(x.data(), x.size());
  std::vector<double> expected;
  for (const float number : x) {
    const double exponent = static_cast<double>(number - max);
    expected.push_back(exponent < -87 ? 0 : std::exp(exponent));
  }
  const double total = kernels::exp_sum(x.data(), x.size(), max);
  digest(x);
  check_close(x, expected, 1e-6, "exp_sum's numbers");
  const double plain = std::accumulate(expected.begin(), expected.end(), 0.0);
  check(std::abs(total - plain) <= 1e-5 * plain, "exp_sum's sum is " + std::to_string(total));
}

}  // namespace

void test_activations() {
  for (const size_t size : kSizes) {
    test_gelu(random_floats(size, 3));
    test_add(size);
    test_max(size);
    test_exp_sum(random_floats(size, 10));
  }
  test_gelu({0, -0.0f, 1e-30f, -1e-30f, 50, -50, 1e4f, -1e4f});
  test_exp_sum({0, -86.9f, -87.1f, -1e30f, -FLT_MAX, -INFINITY});
  test_exp_sum(std::vector<float>(100, FLT_MAX));
  kernels::gelu_tanh(nullptr, 0);
  kernels::add(nullptr, nullptr, 0);
}

}  // namespace predictor::tests
