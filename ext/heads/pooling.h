// One vector of a text's tokens' vectors, in the ways of sentence-transformers.
#pragma once

#include <cstdint>
#include <string>

namespace predictor {

enum class Pooling { cls, max, mean, mean_sqrt_len, weighted_mean, last };

// By sentence-transformers' names: cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken. Throws ModelError.
Pooling pooling_named(const std::string& name);

// `tokens`: [length][size], length at least 1; `out`: [size]. weighted_mean: a token's weight is its place, from 1 on.
void pool(Pooling pooling, const float* tokens, int64_t length, int64_t size, float* out, int64_t first_place = 1);

}  // namespace predictor
