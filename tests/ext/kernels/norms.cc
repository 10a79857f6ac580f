#include "kernels/norms.h"

#include <algorithm>
#include <cmath>

#include "check.h"

namespace predictor::tests {

namespace {

constexpr float kEpsilon = 1e-5f;

enum class Parts { weight_and_bias, weight, bias, none };

bool has_weight(Parts parts) {
  return parts == Parts::weight_and_bias || parts == Parts::weight;
}
bool has_bias(Parts parts) {
  return parts == Parts::weight_and_bias || parts == Parts::bias;
}

void test_layer_norm(const std::vector<float>& x, double tolerance, Parts parts = Parts::weight_and_bias) {
  const size_t size = x.size();
  const std::vector<float> weight = random_floats(size);
  const std::vector<float> bias = random_floats(size);
  double mean = 0;
  for (const float number : x) mean += static_cast<double>(number) / static_cast<double>(size);
  double variance = 0;
  for (const float number : x) variance += std::pow(static_cast<double>(number) - mean, 2) / static_cast<double>(size);
  std::vector<double> expected;
  for (size_t i = 0; i < size; ++i) {
    double normal = (static_cast<double>(x[i]) - mean) / std::sqrt(variance + static_cast<double>(kEpsilon));
    if (has_weight(parts)) normal *= static_cast<double>(weight[i]);
    if (has_bias(parts)) normal += static_cast<double>(bias[i]);
    expected.push_back(normal);
  }
  std::vector<float> out(size);
  const float* const weight_or_null = has_weight(parts) ? weight.data() : nullptr;
  const float* const bias_or_null = has_bias(parts) ? bias.data() : nullptr;
  kernels::layer_norm(x.data(), weight_or_null, bias_or_null, kEpsilon, size, out.data());
  digest(out);
  check_close(out, expected, tolerance, "layer_norm of " + std::to_string(size));
  std::vector<float> in_place = x;
  kernels::layer_norm(in_place.data(), weight_or_null, bias_or_null, kEpsilon, size, in_place.data());
  check(in_place == out, "layer_norm in place");
}

double mean_square(const std::vector<float>& x) {
  double total = 0;
  for (const float number : x) total += static_cast<double>(number) * static_cast<double>(number);
  return total / static_cast<double>(x.size());
}

void test_rms_norm(const std::vector<float>& x, bool weighted) {
  const std::vector<float> weight = random_floats(x.size());
  const double root = std::sqrt(mean_square(x) + static_cast<double>(kEpsilon));
  std::vector<double> expected;
  for (size_t i = 0; i < x.size(); ++i) {
    expected.push_back(static_cast<double>(x[i]) / root * (weighted ? static_cast<double>(weight[i]) : 1));
  }
  std::vector<float> out(x.size());
  kernels::rms_norm(x.data(), weighted ? weight.data() : nullptr, kEpsilon, x.size(), out.data());
  digest(out);
  check_close(out, expected, 1e-6, "rms_norm of " + std::to_string(x.size()));
}

void test_l2_normalize(std::vector<float> x, float epsilon) {
  const double length = std::sqrt(mean_square(x) * static_cast<double>(x.size()));
  std::vector<double> expected;
  for (const float number : x) {
    expected.push_back(static_cast<double>(number) / std::max(length, static_cast<double>(epsilon)));
  }
  kernels::l2_normalize(x.data(), x.size(), epsilon);
  digest(x);
  check_close(x, expected, 1e-6, "l2_normalize of " + std::to_string(x.size()));
}

}  // namespace

void test_norms() {
  for (const size_t size : {1, 2, 3, 15, 16, 17, 31, 33, 256, 383, 768}) {
    for (const Parts parts : {Parts::weight_and_bias, Parts::weight, Parts::bias, Parts::none}) {
      test_layer_norm(random_floats(size), 1e-5, parts);
    }
    test_layer_norm(std::vector<float>(size, 0), 0);  // no variance at all
    test_layer_norm(std::vector<float>(size, 0.25f), 1e-6);
    std::vector<float> far = random_floats(size);
    for (float& number : far) number += 100;  // the mean is much larger than what is left without it
    test_layer_norm(far, 1e-3);
    test_rms_norm(random_floats(size), true);
    test_rms_norm(random_floats(size, 1e-4f), false);
    test_rms_norm(std::vector<float>(size, 0), true);
    test_l2_normalize(random_floats(size), 1e-12f);
    test_l2_normalize(random_floats(size, 1e-3f), 1);
    test_l2_normalize(std::vector<float>(size, 0), 1e-12f);
    std::vector<float> strange = random_floats(size);
    strange[size / 2] = NAN;
    kernels::l2_normalize(strange.data(), size, 1e-12f);
    for (const float number : strange) check(std::isnan(number), "a NaN makes all of a vector NaN");
  }
}

}  // namespace predictor::tests
