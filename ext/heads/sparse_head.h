// SPLADE (Formal et al. 2021, arXiv:2109.10086): a weight for each token of the vocabulary, by the masked language
// model's head and the greatest (or the sum) over a text's tokens.
#pragma once

#include <memory>
#include <vector>

#include "heads/head.h"
#include "heads/head_layer.h"

namespace predictor {

class SparseHead : public Head {
 public:
  // {"pooling": "max" | "sum", "activation": "relu" | "log1p_relu"}. Throws ModelError.
  SparseHead(const Config& description, const TextTransformer& transformer, const WeightReader& weights,
             const Execution& execution);

  std::vector<Vector> apply(const at::Tensor& hidden, const TextBatch& batch) const override;
  int64_t columns() const override { return vocabulary_; }

 private:
  int64_t vocabulary_;
  bool sums_;
  bool logarithmic_twice_;
  std::unique_ptr<HeadPart> layer_;
  std::unique_ptr<Linear> decoder_;
};

}  // namespace predictor
