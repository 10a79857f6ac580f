#include "kernels/distance_bias.h"

#include <algorithm>

#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

struct AddRows {
  // `zero`: a head's row at distance 0. From key to key the row lies one number lower, but never beyond `least` and
  // `most`.
  template <typename Floats>
  PREDICTOR_INLINE static void run(const float* zero, ptrdiff_t distance, ptrdiff_t least, ptrdiff_t most,
                                   size_t queries, size_t keys, size_t stride, float* scores) {
    Floats v;
    Floats w;
    for (size_t key = 0; key < keys; ++key, --distance, scores += stride) {
      const float* const row = zero + std::clamp(distance, least, most);
      for (size_t i = 0; i < queries; i += kVectorSize) {
        load_up_to(v, scores + i, queries - i, 0.0f);
        load_up_to(w, row + i, queries - i, 0.0f);
        store_up_to(v + w, scores + i, queries - i);
      }
    }
  }
};

}  // namespace

DistanceBias::DistanceBias(std::span<const float> table, size_t heads, size_t max_distance)
    : max_distance_(max_distance), row_size_(2 * (max_distance + kMaxQueries) + 1) {
  const size_t size = 2 * max_distance + 1;
  rows_.reserve(heads * row_size_);
  for (size_t head = 0; head < heads; ++head) {
    const std::span<const float> of_head = table.subspan(head * size, size);
    rows_.insert(rows_.end(), kMaxQueries, of_head.back());
    rows_.insert(rows_.end(), of_head.rbegin(), of_head.rend());
    rows_.insert(rows_.end(), kMaxQueries, of_head.front());
  }
}

void DistanceBias::add(size_t head, size_t first_query, size_t queries, size_t keys_begin, size_t keys_end,
                       size_t stride, float* scores) const {
  const auto most = static_cast<ptrdiff_t>(max_distance_);
  const auto margin = static_cast<ptrdiff_t>(kMaxQueries);
  const float* const zero = rows_.data() + head * row_size_ + max_distance_ + kMaxQueries;
  const auto distance = static_cast<ptrdiff_t>(first_query) - static_cast<ptrdiff_t>(keys_begin);
  dispatch<AddRows>(zero, distance, -most - margin, most, queries, keys_end - keys_begin, stride, scores);
}

}  // namespace predictor::kernels
