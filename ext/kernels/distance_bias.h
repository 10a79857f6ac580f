// A bias of attention scores by how far the key lies from the query, as T5, MPNet and ALiBi have it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/attention.h"

namespace predictor::kernels {

class DistanceBias : public ScoreBias {
 public:
  // `table`: [heads][2 * max_distance + 1]; number max_distance + d of a head is for keys d tokens after the query.
  // Keys further away get what those at max_distance get.
  DistanceBias(std::span<const float> table, size_t heads, size_t max_distance);

  void add(size_t head, size_t first_query, size_t queries, size_t keys_begin, size_t keys_end, size_t stride,
           float* scores) const override;

 private:
  static constexpr size_t kMaxQueries = 32;

  const size_t max_distance_;
  const size_t row_size_;
  std::vector<float> rows_;  // of each head, by query less key, with kMaxQueries more of the last ones at both ends
};

}  // namespace predictor::kernels
