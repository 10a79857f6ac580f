// T5's bias by distance (Raffel et al. 2019, arXiv:1910.10683): a number for each head and bucket of distances.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace predictor {

// `of_buckets`: float32 [buckets, heads]; to the table of a DistanceAttentionBias. Half of the buckets are for keys
// behind the query; of each half, half are of one distance, and the others grow to `max_distance`.
at::Tensor bucketed_bias(const at::Tensor& of_buckets, int64_t max_distance);

}  // namespace predictor
