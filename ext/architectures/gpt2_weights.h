// GPT-2's weights as tensors on the processor, checked.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "architectures/gpt2_model.h"
#include "weights/precision.h"

namespace predictor {

struct Gpt2Norm {
  at::Tensor weight;  // float32 [hidden_size]
  at::Tensor bias;    // float32 [hidden_size]
};

// What rows of `in` numbers are multiplied with.
struct Gpt2Matrix {
  at::Tensor weight;  // [in, out]: in int8 whole numbers, else as the file has it
  at::Tensor scales;  // float32 [out]: what the columns of whole numbers stand for; else undefined
  at::Tensor bias;    // float32 [out], or undefined
};

struct Gpt2Layer {
  Gpt2Norm attention_norm;
  Gpt2Matrix qkv_projection;
  Gpt2Matrix output_projection;
  Gpt2Norm mlp_norm;
  Gpt2Matrix up_projection;
  Gpt2Matrix down_projection;
};

// Takes copies out of the named weights, one layer at a time: while a model is loaded it is in memory twice, as it was
// given and as it is multiplied with, but not a third time. Every method throws ModelError, naming the weight, when one
// is not there or not as the configuration says.
class Gpt2Weights {
 public:
  // `weights` must outlive this.
  Gpt2Weights(const Gpt2Config& config, const Weights& weights, Precision precision)
      : config_(config), weights_(weights), precision_(precision) {}

  at::Tensor token_embeddings() const;     // float32 [vocabulary, hidden_size]
  at::Tensor position_embeddings() const;  // float32 [context, hidden_size]
  Gpt2Layer layer(uint32_t number) const;
  Gpt2Norm final_norm() const;
  // Of the output; its weight is undefined where the tokens' are meant, turned.
  Gpt2Matrix lm_head() const;

 private:
  at::Tensor floats(const std::string& name, const std::vector<int64_t>& shape) const;
  Gpt2Norm norm(const std::string& name) const;
  Gpt2Matrix matrix(const std::string& name, int64_t in, int64_t out, bool biased) const;
  at::Tensor read(const std::string& name, const std::vector<int64_t>& shape, bool whole) const;

  const Gpt2Config config_;
  const Weights& weights_;
  const Precision precision_;
};

}  // namespace predictor
