#include "kernels/norms.h"

#include <cmath>

#include "check.h"

namespace predictor::tests {

namespace {

constexpr float kEpsilon = 1e-5f;

void test_layer_norm(const std::vector<float>& x, double tolerance) {
  const size_t size = x.size();
  const std::vector<float> weight = random_floats(size);
  const std::vector<float> bias = random_floats(size);
  double mean = 0;
  for (const float number : x) mean += static_cast<double>(number) / static_cast<double>(size);
  double variance = 0;
  for (const float number : x) variance += std::pow(static_cast<double>(number) - mean, 2) / static_cast<double>(size);
  std::vector<double> expected;
  for (size_t i = 0; i < size; ++i) {
    const double normal = (static_cast<double>(x[i]) - mean) / std::sqrt(variance + static_cast<double>(kEpsilon));
    expected.push_back(normal * static_cast<double>(weight[i]) + static_cast<double>(bias[i]));
  }
  std::vector<float> out(size);
  kernels::layer_norm(x.data(), weight.data(), bias.data(), kEpsilon, size, out.data());
  digest(out);
  check_close(out, expected, tolerance, "layer_norm of " + std::to_string(size));
}

}  // namespace

void test_norms() {
  for (const size_t size : {1, 2, 3, 15, 16, 17, 31, 33, 256, 383, 768}) {
    test_layer_norm(random_floats(size), 1e-5);
    test_layer_norm(std::vector<float>(size, 0), 0);  // no variance at all
    test_layer_norm(std::vector<float>(size, 0.25f), 1e-6);
    std::vector<float> far = random_floats(size);
    for (float& number : far) number += 100;  // the mean is much larger than what is left without it
    test_layer_norm(far, 1e-3);
  }
}

}  // namespace predictor::tests
