// GPT-2 on the processor: products of matrices (linear.h), and loops of our own (kernels/) for all the rest.
#pragma once

#include <memory>
#include <vector>

#include "architectures/gpt2_model.h"
#include "architectures/gpt2_weights.h"
#include "transformer/linear.h"

namespace predictor {

class Gpt2OnProcessor : public Gpt2Model {
 public:
  // Throws ModelError.
  Gpt2OnProcessor(const Gpt2Config& config, const Gpt2Weights& weights, Precision precision, uint32_t slots);

  std::span<float> forward(std::span<const Row> rows, std::span<const uint32_t> logit_rows) override;
  bool is_batch_invariant() const override { return true; }  // min_rows_ is for that

 private:
  struct Layer {
    Gpt2Norm attention_norm;
    std::unique_ptr<Linear> qkv_projection;
    std::unique_ptr<Linear> output_projection;
    Gpt2Norm mlp_norm;
    std::unique_ptr<Linear> up_projection;
    std::unique_ptr<Linear> down_projection;
  };

  size_t rows_of(size_t rows) const;
  at::Tensor zeros(size_t rows, size_t columns) const;
  void warm_up() const;
  void normalize(const Gpt2Norm& norm, const float* x, size_t rows, float* out) const;
  void attend_all(size_t layer, std::span<const Row> rows, const at::Tensor& qkv, float* out);

  const uint32_t slots_;
  const bool is_compiled_;          // its products, for every number of rows
  at::Tensor token_embeddings_;     // [vocabulary, hidden_size]
  at::Tensor position_embeddings_;  // [context, hidden_size]
  std::vector<Layer> layers_;
  Gpt2Norm final_norm_;
  std::unique_ptr<Linear> lm_head_;
  at::Tensor cache_;   // [layers, keys and values, slots, heads, context, head_size in whole vectors]
  at::Tensor logits_;  // of the last call
  std::vector<float> scratch_;
  uint32_t min_rows_ = 1;  // of a decode step: with fewer a text would get other numbers (docs/generation.md)
};

}  // namespace predictor
