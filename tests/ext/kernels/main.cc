// Compares every kernel with a plain loop. Prints a digest of the results that all instruction sets must agree on.
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "check.h"

namespace predictor::tests {

namespace {

std::mt19937 source(20'240'501);  // NOLINT: the same numbers in every run are what is needed
uint64_t digested = 0xcbf29ce484222325;

}  // namespace

void check(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  std::_Exit(1);
}

void check_close(std::span<const float> results, std::span<const double> expected, double tolerance,
                 const std::string& what) {
  check(results.size() == expected.size(), what + ": as many results as expected");
  for (size_t i = 0; i < results.size(); ++i) {
    const double result = static_cast<double>(results[i]);
    const bool same = result == expected[i] || (std::isnan(result) && std::isnan(expected[i]));
    if (same || std::abs(result - expected[i]) <= tolerance * (1 + std::abs(expected[i]))) continue;
    check(false, what + "[" + std::to_string(i) + "] is " + std::to_string(result) + ", expected " +
                     std::to_string(expected[i]));
  }
}

void digest(std::span<const float> results) {  // FNV-1a
  for (const float result : results) {
    uint32_t bits;
    std::memcpy(&bits, &result, sizeof bits);
    digested = (digested ^ bits) * 0x100000001b3;
  }
}

uint64_t digest_value() {
  return digested;
}

std::vector<float> random_floats(size_t count, float scale) {
  std::vector<float> numbers(count);
  for (float& number : numbers) {  // a sum of uniform numbers: std::normal_distribution calls libm
    number = 0;
    for (int i = 0; i < 12; ++i) number += static_cast<float>(source() >> 8) * 0x1p-24f;
    number = (number - 6) * scale;
  }
  return numbers;
}

std::vector<int8_t> random_int8(size_t count) {
  std::vector<int8_t> numbers(count);
  for (int8_t& number : numbers) number = static_cast<int8_t>(static_cast<int>(source() % 255) - 127);
  return numbers;
}

std::vector<uint8_t> random_bytes(size_t count) {
  std::vector<uint8_t> numbers(count);
  for (uint8_t& number : numbers) number = static_cast<uint8_t>(source() % 256);
  return numbers;
}

}  // namespace predictor::tests

int main() {
  using namespace predictor::tests;
  test_activations();
  test_bfloat16();
  test_norms();
  test_quantization();
  test_rotary();
  test_paged_attention();
  test_attention();
  test_packed_gemm();
  test_packed_int4();
  test_packed_memory();
  std::printf("%016" PRIx64 "\n", digest_value());
  return 0;
}
