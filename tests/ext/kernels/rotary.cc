#include "kernels/rotary.h"

#include <cmath>

#include "check.h"

namespace predictor::tests {

namespace {

// As the papers have it: a pair is a complex number, and turns by its angle.
void test_shape(size_t heads, size_t head_size, size_t rotated, bool pairs) {
  const size_t half = rotated / 2;
  const std::vector<float> angles = random_floats(half, 3);
  std::vector<float> cos;
  std::vector<float> sin;
  for (const float angle : angles) {
    cos.push_back(static_cast<float>(std::cos(static_cast<double>(angle))));
    sin.push_back(static_cast<float>(std::sin(static_cast<double>(angle))));
  }
  std::vector<float> x = random_floats(heads * head_size);
  std::vector<double> expected(x.begin(), x.end());
  for (size_t head = 0; head < heads; ++head) {
    for (size_t i = 0; i < half; ++i) {
      const size_t real = head * head_size + (pairs ? 2 * i : i);
      const size_t imaginary = pairs ? real + 1 : real + half;
      const double length = std::hypot(static_cast<double>(x[real]), static_cast<double>(x[imaginary]));
      const double angle = std::atan2(static_cast<double>(x[imaginary]), static_cast<double>(x[real]));
      expected[real] = length * std::cos(angle + static_cast<double>(angles[i]));
      expected[imaginary] = length * std::sin(angle + static_cast<double>(angles[i]));
    }
  }
  (pairs ? kernels::rotate_pairs : kernels::rotate)(x.data(), cos.data(), sin.data(), heads, head_size, rotated);
  digest(x);
  check_close(x, expected, 1e-6, pairs ? "rotate_pairs" : "rotate");
}

}  // namespace

void test_rotary() {
  for (const bool pairs : {false, true}) {
    test_shape(1, 2, 2, pairs);
    test_shape(3, 8, 6, pairs);
    test_shape(2, 32, 32, pairs);
    test_shape(12, 64, 64, pairs);
    test_shape(1, 80, 34, pairs);
    test_shape(2, 128, 100, pairs);
    test_shape(2, 10, 0, pairs);
  }
}

}  // namespace predictor::tests
