// GPT-2 on the processor: products of matrices (linear.h), and loops of our own (row_math.h) for all the rest.
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

  std::span<float> read(std::span<const Row> rows, std::span<const uint32_t> wanted) override;
  bool is_batch_invariant() const override { return true; }  // least_rows_ is for that

 private:
  struct Layer {
    Gpt2Norm before_attention;
    std::unique_ptr<Linear> queries_keys_values;
    std::unique_ptr<Linear> attended;
    Gpt2Norm before_network;
    std::unique_ptr<Linear> widen;
    std::unique_ptr<Linear> narrow;
  };

  size_t rows_of(size_t rows) const;
  at::Tensor zeros(size_t rows, size_t columns) const;
  void warm_up() const;
  void normalise(const Gpt2Norm& norm, const float* x, size_t rows, float* out) const;
  void attend_all(size_t layer, std::span<const Row> rows, const at::Tensor& queries_keys_values, float* out);

  const uint32_t slots_;
  const bool is_compiled_;  // its products, for every number of rows
  at::Tensor tokens_;       // [vocabulary, width]
  at::Tensor positions_;    // [context, width]
  std::vector<Layer> layers_;
  Gpt2Norm last_;
  std::unique_ptr<Linear> output_;
  at::Tensor cache_;   // [layers, keys and values, slots, heads, context, head's width in whole lanes]
  at::Tensor logits_;  // of the last call
  std::vector<float> scratch_;
  uint32_t least_rows_ = 1;  // of a step: with fewer a text would get other numbers (docs/generation.md)
};

}  // namespace predictor
