// Attention of one token to those before it in its sequence, whose keys and values a KV cache holds.
#pragma once

#include <cstddef>

namespace predictor::kernels {

// The keys and values of one sequence, in one layer: for each head `context_length` rows of
// padded_to_vector(head_size) floats.
struct KvCache {
  float* keys;
  float* values;
  size_t context_length;
};

// Puts a position's keys and values (heads * head_size floats each) into the cache.
void store_kv(const KvCache& cache, size_t position, size_t heads, size_t head_size, const float* keys,
              const float* values);

// Softmax attention of a position's queries to all positions up to it (Vaswani et al. 2017, arXiv:1706.03762).
// `scratch` has room for padded_to_vector(context_length) + padded_to_vector(head_size) floats.
void attend(const KvCache& cache, size_t position, size_t heads, size_t head_size, const float* queries, float* scratch,
            float* out);

}  // namespace predictor::kernels
