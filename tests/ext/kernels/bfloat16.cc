#include "kernels/bfloat16.h"

#include <bit>
#include <cfloat>
#include <cmath>

#include "check.h"

namespace predictor::tests {

namespace {

float plain_float16(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  const double sign = bits >> 15 != 0 ? -1 : 1;
  if (exponent == 31) return static_cast<float>(fraction != 0 ? double{NAN} : sign * HUGE_VAL);
  return static_cast<float>(sign *
                            (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25)));
}

bool are_same(float x, float y) {
  return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y) || (std::isnan(x) && std::isnan(y));
}

std::vector<uint16_t> all_halves() {
  std::vector<uint16_t> halves(65'536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  return halves;
}

void test_every_number() {
  const std::vector<uint16_t> halves = all_halves();
  std::vector<float> floats(halves.size());
  kernels::float16_to_float(halves.data(), halves.size(), floats.data());
  for (size_t i = 0; i < halves.size(); ++i) {
    check(are_same(floats[i], plain_float16(halves[i])), "float16 " + std::to_string(i));
  }
  kernels::bfloat16_to_float(halves.data(), halves.size(), floats.data());
  std::vector<uint16_t> back(halves.size());
  kernels::float_to_bfloat16(floats.data(), floats.size(), back.data());
  for (size_t i = 0; i < halves.size(); ++i) {
    check(are_same(floats[i], std::bit_cast<float>(static_cast<uint32_t>(i) << 16)), "bfloat16 " + std::to_string(i));
    const bool is_nan = std::isnan(floats[i]);
    check(is_nan ? (back[i] & 0x7fff) > 0x7f80 : back[i] == halves[i], "bfloat16 and back " + std::to_string(i));
  }
}

void test_rounding() {
  const auto of = [](uint32_t bits) {
    const float x = std::bit_cast<float>(bits);
    uint16_t out;
    kernels::float_to_bfloat16(&x, 1, &out);
    return out;
  };
  check(of(0x3f808000) == 0x3f80, "a tie goes to the even number below");
  check(of(0x3f818000) == 0x3f82, "a tie goes to the even number above");
  check(of(0x3f808001) == 0x3f81, "more than a tie goes up");
  check(of(0x3f817fff) == 0x3f81, "less than a tie goes down");
  check(of(std::bit_cast<uint32_t>(FLT_MAX)) == 0x7f80, "what is too large is infinite");
  check(of(0xff800000) == 0xff80, "infinity stays");
  check((of(0x7f800001) & 0x7fff) > 0x7f80, "a NaN whose digits are all below stays NaN");
}

void test_size(size_t size) {
  const std::vector<float> x = random_floats(size);
  std::vector<uint16_t> rounded(size);
  std::vector<float> out(size);
  kernels::float_to_bfloat16(x.data(), size, rounded.data());
  kernels::bfloat16_to_float(rounded.data(), size, out.data());
  digest(out);
  for (size_t i = 0; i < size; ++i)
    check(std::abs(out[i] - x[i]) <= std::abs(x[i]) / 256, "bfloat16 rounds to nearest");
  std::vector<float> of_float16(size);
  kernels::float16_to_float(rounded.data(), size, of_float16.data());
  for (size_t i = 0; i < size; ++i) check(are_same(of_float16[i], plain_float16(rounded[i])), "float16 of a size");
}

}  // namespace

void test_bfloat16() {
  test_every_number();
  test_rounding();
  for (const size_t size : {1, 2, 15, 16, 17, 31, 33, 100}) test_size(size);
  kernels::float_to_bfloat16(nullptr, 0, nullptr);
}

}  // namespace predictor::tests
