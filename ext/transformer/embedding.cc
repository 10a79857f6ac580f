#include "transformer/embedding.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "kernels/activations.h"

namespace predictor {

namespace {

template <bool Adds, typename Number>
void convert(const Number* from, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = (Adds ? out[i] : 0.0f) + static_cast<float>(from[i]);
}

}  // namespace

template <bool Adds>
void Embedding::take(int64_t row, float* out) const {
  const int64_t at = row * size();
  switch (weight_.scalar_type()) {
    case at::kFloat:
      return convert<Adds>(weight_.const_data_ptr<float>() + at, size(), out);
    case at::kBFloat16:
      return convert<Adds>(weight_.const_data_ptr<at::BFloat16>() + at, size(), out);
    case at::kHalf:
      return convert<Adds>(weight_.const_data_ptr<at::Half>() + at, size(), out);
    default:
      return convert<Adds>(weight_.const_data_ptr<double>() + at, size(), out);
  }
}

void Embedding::read(int64_t row, float* out) const {
  take<false>(row, out);
}

void Embedding::add(int64_t row, float* out) const {
  take<true>(row, out);
}

}  // namespace predictor
