// What makes a text's answer of what a transformer gives for its tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "architectures/text_transformer.h"
#include "transformer/text_batch.h"
#include "transformer/weight_reader.h"
#include "weights/config.h"

namespace predictor {

// A text's numbers: a vector, scores of classes, or such a row for each token. Of a sparse vector pairs: the bits of a
// token's id (int32), and its weight.
using Vector = std::vector<float>;

class Head {
 public:
  virtual ~Head() = default;

  // `hidden`: float32 [batch.tokens(), hidden_size], on the processor.
  virtual std::vector<Vector> apply(const at::Tensor& hidden, const TextBatch& batch) const = 0;

  // Numbers of a vector or of a token's row; of a sparse vector, the most that it may have.
  virtual int64_t columns() const = 0;
};

// `description`: {"output": "vector" | "token_vectors" | "classes" | "token_classes" | "sparse", ...}, as
// ext/_encoder.pyi says it. Throws ModelError.
std::unique_ptr<Head> make_head(const Config& description, const TextTransformer& transformer,
                                const WeightReader& weights, const Execution& execution);

}  // namespace predictor
