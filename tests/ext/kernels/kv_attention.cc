#include "kernels/kv_attention.h"

#include <algorithm>
#include <cmath>

#include "check.h"
#include "kernels/simd.h"

namespace predictor::tests {

namespace {

struct Shape {
  size_t heads;
  size_t head_size;
  size_t context_length;
};

using Rows = std::vector<std::vector<float>>;

// The last position's query against all keys and values, in double precision.
std::vector<double> plain_attention(const Shape& shape, const std::vector<float>& query, const Rows& keys,
                                    const Rows& values) {
  std::vector<double> out(shape.heads * shape.head_size, 0);
  for (size_t head = 0; head < shape.heads; ++head) {
    const size_t first = head * shape.head_size;
    std::vector<double> scores;
    for (const std::vector<float>& key : keys) {
      double score = 0;
      for (size_t i = first; i < first + shape.head_size; ++i) {
        score += static_cast<double>(query[i]) * static_cast<double>(key[i]);
      }
      scores.push_back(score / std::sqrt(static_cast<double>(shape.head_size)));
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - max);
    for (size_t position = 0; position < scores.size(); ++position) {
      for (size_t i = first; i < first + shape.head_size; ++i) {
        out[i] += scores[position] / total * static_cast<double>(values[position][i]);
      }
    }
  }
  return out;
}

// One token after the other, as decode steps give them; the cache is full at the end.
void test_shape(const Shape& shape, float scale) {
  const size_t row_size = kernels::padded_to_vector(shape.head_size);
  std::vector<float> keys(shape.heads * shape.context_length * row_size, NAN);  // nobody may look at what is not there
  std::vector<float> values(keys.size(), NAN);
  std::vector<float> scratch(kernels::padded_to_vector(shape.context_length) + row_size);
  const kernels::KvCache cache{keys.data(), values.data(), shape.context_length};
  Rows known_keys;
  Rows known_values;
  const size_t hidden_size = shape.heads * shape.head_size;
  for (size_t position = 0; position < shape.context_length; ++position) {
    const std::vector<float> query = random_floats(hidden_size, scale);
    known_keys.push_back(random_floats(hidden_size, scale));
    known_values.push_back(random_floats(hidden_size));
    kernels::store_kv(cache, position, shape.heads, shape.head_size, known_keys.back().data(),
                      known_values.back().data());
    std::vector<float> out(hidden_size);
    kernels::attend(cache, position, shape.heads, shape.head_size, query.data(), scratch.data(), out.data());
    digest(out);
    check_close(out, plain_attention(shape, query, known_keys, known_values), scale > 1 ? 1e-3 : 1e-5,
                "attend at position " + std::to_string(position));
  }
}

}  // namespace

void test_kv_attention() {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{3, 7, 5}, Shape{2, 16, 33}, Shape{1, 63, 20}, Shape{2, 64, 17},
                             Shape{2, 80, 18}, Shape{1, 129, 9}}) {
    test_shape(shape, 1);
    test_shape(shape, 20);  // scores far apart: softmax must not overflow
  }
}

}  // namespace predictor::tests
