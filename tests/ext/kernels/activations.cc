#include "kernels/activations.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <numeric>

#include "check.h"

namespace predictor::tests {

namespace {

constexpr size_t kSizes[] = {1, 2, 15, 16, 17, 31, 32, 33, 64, 255, 1000};

struct Activation {
  const char* name;
  void (*kernel)(float*, size_t);
  double (*plain)(double);
};

double plain_sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

constexpr Activation kActivations[] = {
    {"gelu", kernels::gelu, [](double x) { return x / 2 * std::erfc(-x / std::sqrt(2.0)); }},
    {"gelu_tanh", kernels::gelu_tanh,
     [](double x) { return x / 2 * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }},
    {"quick_gelu", kernels::quick_gelu, [](double x) { return x * plain_sigmoid(1.702 * x); }},
    {"silu", kernels::silu, [](double x) { return x * plain_sigmoid(x); }},
    {"relu", kernels::relu, [](double x) { return std::max(x, 0.0); }},
    {"sigmoid", kernels::sigmoid, plain_sigmoid},
    {"tanh", kernels::tanh, [](double x) { return std::tanh(x); }},
};

void test_activation(const Activation& activation, std::vector<float> x) {
  std::vector<double> expected;
  for (const float number : x) expected.push_back(activation.plain(static_cast<double>(number)));
  const std::string what = std::string(activation.name) + " of " + std::to_string(x.size());
  activation.kernel(x.data(), x.size());
  digest(x);
  check_close(x, expected, 1e-6, what);
}

// To 1e-6 of it, not only of 1: numbers close to 0 keep their digits.
void test_small_numbers(const Activation& activation) {
  std::vector<float> x{1e-3f, -1e-5f, 1e-7f, -1e-20f};
  const std::vector<float> from = x;
  activation.kernel(x.data(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = activation.plain(static_cast<double>(from[i]));
    check(std::abs(static_cast<double>(x[i]) - expected) <= 1e-6 * std::abs(expected), activation.name);
  }
}

void test_activation(const Activation& activation) {
  for (const size_t size : kSizes) test_activation(activation, random_floats(size, 3));
  test_activation(activation, {0, -0.0f, 1e-30f, -1e-30f, 50, -50, 1e4f, -1e4f});
  std::vector<float> range;
  for (int i = -20'000; i <= 20'000; ++i) range.push_back(static_cast<float>(i) * 1e-3f);
  test_activation(activation, range);
  for (const size_t size : kSizes) {
    std::vector<float> x = random_floats(size);
    x[size / 2] = NAN;
    activation.kernel(x.data(), size);
    for (size_t i = 0; i < size; ++i) check(std::isnan(x[i]) == (i == size / 2), "NaN stays, and stays alone");
  }
  activation.kernel(nullptr, 0);
}

void test_gelu_to_its_promise() {
  std::vector<float> x;
  for (int i = -200'000; i <= 200'000; ++i) x.push_back(static_cast<float>(i) * 1e-4f);
  std::vector<double> expected;
  for (const float number : x) {
    expected.push_back(static_cast<double>(number) / 2 * std::erfc(static_cast<double>(number) / -std::sqrt(2.0)));
  }
  kernels::gelu(x.data(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    check(std::abs(static_cast<double>(x[i]) - expected[i]) <= 3e-7, "gelu of " + std::to_string(i));
  }
  check(x.front() == 0 && x.back() == 20, "gelu of large numbers is exact");
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

void test_multiply(size_t size) {
  std::vector<float> x = random_floats(size);
  const std::vector<float> y = random_floats(size);
  std::vector<double> expected;
  for (size_t i = 0; i < size; ++i) expected.push_back(static_cast<double>(x[i] * y[i]));
  kernels::multiply(x.data(), y.data(), size);
  digest(x);
  check_close(x, expected, 0, "multiply of " + std::to_string(size));
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
  for (const Activation& activation : kActivations) test_activation(activation);
  for (const Activation& activation : kActivations) test_small_numbers(activation);
  test_gelu_to_its_promise();
  for (const size_t size : kSizes) {
    test_add(size);
    test_multiply(size);
    test_max(size);
    test_exp_sum(random_floats(size, 10));
  }
  test_exp_sum({0, -86.9f, -87.1f, -1e30f, -FLT_MAX, -INFINITY});
  test_exp_sum(std::vector<float>(100, FLT_MAX));
  kernels::add(nullptr, nullptr, 0);
  kernels::multiply(nullptr, nullptr, 0);
}

}  // namespace predictor::tests
