#include "heads/pooling.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/activations.h"
#include "weights/model_error.h"

namespace predictor {

Pooling pooling_named(const std::string& name) {
  static const std::map<std::string, Pooling> names = {
      {"cls", Pooling::cls},
      {"max", Pooling::max},
      {"mean", Pooling::mean},
      {"mean_sqrt_len_tokens", Pooling::mean_sqrt_len},
      {"weightedmean", Pooling::weighted_mean},
      {"lasttoken", Pooling::last},
  };
  const auto found = names.find(name);
  if (found != names.end()) return found->second;
  std::string served;
  for (const auto& [each, pooling] : names) served += (served.empty() ? "" : ", ") + each;
  throw ModelError("the pooling is \"" + name.substr(0, 80) + "\"; served are " + served);
}

void pool(Pooling pooling, const float* tokens, int64_t length, int64_t size, float* out, int64_t first_place) {
  if (pooling == Pooling::cls || pooling == Pooling::last) {
    std::copy_n(tokens + (pooling == Pooling::last ? length - 1 : 0) * size, size, out);
    return;
  }
  const bool is_weighted = pooling == Pooling::weighted_mean;
  const auto factor = [&](int64_t i) { return is_weighted ? static_cast<float>(first_place + i) : 1.0f; };
  for (int64_t column = 0; column < size; ++column) out[column] = tokens[column] * factor(0);
  float weights = factor(0);
  for (int64_t i = 1; i < length; ++i) {
    const float* const token = tokens + i * size;
    if (pooling == Pooling::max) {
      for (int64_t column = 0; column < size; ++column) {
        // a NaN stays
        out[column] = token[column] <= out[column] || out[column] != out[column] ? out[column] : token[column];
      }
    } else if (is_weighted) {
      for (int64_t column = 0; column < size; ++column) out[column] += token[column] * factor(i);
    } else {
      kernels::add(out, token, static_cast<size_t>(size));
    }
    weights += factor(i);
  }
  if (pooling == Pooling::max) return;
  const float divisor = pooling == Pooling::mean_sqrt_len ? std::sqrt(static_cast<float>(length)) : weights;
  for (int64_t column = 0; column < size; ++column) out[column] /= divisor;
}

}  // namespace predictor
