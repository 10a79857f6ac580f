// What the kernels' unit tests share: random numbers, comparisons, a digest of results, and buffers of exactly the size
// that is promised, so that a sanitizer sees who goes beyond.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace predictor::tests {

// Ends the program, saying what failed, where `holds` is false.
void check(bool holds, const std::string& what);

// Whether each number lies within `tolerance` times (1 + the expected number's size).
void check_close(std::span<const float> results, std::span<const double> expected, double tolerance,
                 const std::string& what);

// Adds the bits of results to a digest that must be the same for all instruction sets.
void digest(std::span<const float> results);
uint64_t digest_value();

// Numbers of the normal distribution, times `scale`: the same ones in every run.
std::vector<float> random_floats(size_t count, float scale = 1);
std::vector<int8_t> random_int8(size_t count);
std::vector<uint8_t> random_bytes(size_t count);

// Each file's tests.
void test_activations();
void test_attention();
void test_bfloat16();
void test_norms();
void test_paged_attention();
void test_packed_gemm();
void test_packed_int4();
void test_packed_memory();
void test_quantization();
void test_rotary();

}  // namespace predictor::tests
