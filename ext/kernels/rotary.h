// Rotary positions (Su et al. 2021, arXiv:2104.09864): pairs of a head's numbers are turned by angles that grow with
// the position. `cos` and `sin`: rotated / 2 numbers each, those of the token's position. Of each head the first
// `rotated` numbers, an even count, are turned; the others stay.
#pragma once

#include <cstddef>

namespace predictor::kernels {

// Number i goes with number i + rotated / 2, as in Llama, Qwen, Gemma, ModernBERT and NomicBERT.
void rotate(float* heads_of_token, const float* cos, const float* sin, size_t heads, size_t head_size, size_t rotated);

// Number 2i goes with number 2i + 1, as in RoFormer and GPT-J.
void rotate_pairs(float* heads_of_token, const float* cos, const float* sin, size_t heads, size_t head_size,
                  size_t rotated);

}  // namespace predictor::kernels
