#include "architectures/relative_bias.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/log.h>
#include <ATen/ops/where.h>

#include <cmath>

namespace predictor {

at::Tensor bucketed_bias(const at::Tensor& of_buckets, int64_t max_distance) {
  const int64_t half = of_buckets.size(0) / 2;
  const int64_t exact = half / 2;
  const at::Tensor distances = at::arange(-max_distance, max_distance + 1, at::kLong);  // key minus query
  const at::Tensor far = distances.abs();
  // in float32, as the libraries count: a bucket's edge must not move
  const at::Tensor logarithms = at::log(far.to(at::kFloat) / static_cast<double>(exact)) /
                                std::log(static_cast<double>(max_distance) / static_cast<double>(exact)) *
                                static_cast<double>(half - exact);
  const at::Tensor large = (exact + logarithms.clamp_min(0).to(at::kLong)).clamp_max(half - 1);
  const at::Tensor buckets = at::where(far < exact, far, large) + (distances > 0).to(at::kLong) * half;
  return of_buckets.index_select(0, buckets).t().contiguous();
}

}  // namespace predictor
