// A vector for each token, and no layer: Model2Vec's folders and sentence-transformers' StaticEmbedding.
#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>

#include "architectures/architectures.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

constexpr auto kTable = "embedding.weight";

// Model2Vec's vocabulary may share rows ("mapping": the row of each token) and weigh tokens ("weights").
at::Tensor mapped(const WeightReader& weights, const at::Tensor& table) {
  at::Tensor rows = table.to(at::kFloat);
  if (weights.has("mapping")) {
    const at::Tensor mapping = weights.whole_numbers("mapping");
    if (mapping.min().item<int64_t>() < 0 || mapping.max().item<int64_t>() >= table.size(0)) {
      throw ModelError("weight mapping names rows that embedding.weight has not");
    }
    rows = rows.index_select(0, mapping);
  }
  if (weights.has("weights")) rows = rows * weights.floats("weights", {rows.size(0)}).unsqueeze(1);
  return rows.contiguous();
}

}  // namespace

TextTransformer make_static(const Config&, const WeightReader& weights, const Execution&) {
  const std::vector<int64_t> shape = weights.shape(kTable);
  if (shape.size() != 2) throw ModelError("weight embedding.weight is not there, or is no matrix");
  const bool is_plain = !weights.has("mapping") && !weights.has("weights");
  return {.embeddings = {.words = is_plain ? Embedding(weights, kTable, shape[0], shape[1])
                                           : Embedding(mapped(weights, weights.tensor(kTable, shape)))},
          .layers = {},
          .hidden_size = shape[1]};
}

}  // namespace predictor
