// Scores of classes, before softmax or sigmoid: one row for a text, or one for each of its tokens.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "heads/head.h"
#include "heads/head_layer.h"

namespace predictor {

class ClassesHead : public Head {
 public:
  // Throws ModelError.
  ClassesHead(const ClassHead& description, int64_t labels, bool of_tokens, int64_t hidden_size,
              const WeightReader& weights);

  std::vector<Vector> apply(const at::Tensor& hidden, const TextBatch& batch) const override;
  int64_t columns() const override { return labels_; }

 private:
  const ClassHead::Input input_;
  const std::optional<int64_t> padding_;
  const int64_t labels_;
  const bool of_tokens_;
  std::vector<HeadPart> layers_;
  std::unique_ptr<Linear> out_;
};

}  // namespace predictor
