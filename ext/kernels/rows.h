// What a transformer does to each row of floats besides matrix products.
#pragma once

#include <cstddef>
#include <cstdint>

namespace predictor {

// (x - mean) / sqrt(variance + epsilon) * gain + shift (Ba et al. 2016, arXiv:1607.06450).
void layer_norm(const float* x, const float* gain, const float* shift, float epsilon, size_t width, float* out);

// GELU by tanh, as GPT-2 has it: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel,
// arXiv:1606.08415).
void gelu(float* x, size_t width);

// x += y
void add(float* x, const float* y, size_t width);

// The greatest of `count`, at least 1. A NaN makes it NaN.
float greatest(const float* x, size_t count);

// x = e^(x - greatest), where `greatest` is that of x; the sum of the results.
double exponentials(float* x, size_t count, float greatest);

// The row as whole numbers of -127 to 127 times the returned scale; `out` has them plus `offset`, in a byte each. Where
// a number of the row is none, or infinite, so is the scale.
float quantise(const float* x, size_t width, int offset, uint8_t* out);

// out = sums * scales * scale + shift. `shift` may be null.
void rescale(const int32_t* sums, const float* scales, float scale, const float* shift, size_t width, float* out);

// Keys and values of one sequence, in one layer: for each head `context` rows of padded_to_lanes(head_width) floats.
struct AttentionCache {
  float* keys;
  float* values;
  size_t context;
};

// Puts a position's keys and values (heads * head_width floats each) into the cache.
void remember(const AttentionCache& cache, size_t position, size_t heads, size_t head_width, const float* keys,
              const float* values);

// Softmax attention of a position's queries to all positions up to it (Vaswani et al. 2017, arXiv:1706.03762).
// `scratch` has room for padded_to_lanes(context) + padded_to_lanes(head_width) floats.
void attend(const AttentionCache& cache, size_t position, size_t heads, size_t head_width, const float* queries,
            float* scratch, float* out);

}  // namespace predictor
