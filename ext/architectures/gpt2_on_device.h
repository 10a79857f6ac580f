// GPT-2 by libtorch's operators, on any device that it has: what a graphics card runs.
//
// There a decode step always has one row for each slot, whether a text is in it or not, and always looks at all
// positions, of which those to come are masked: the card's libraries choose their order of additions by the shape, and
// so a text's numbers do not change with its batch mates. A prompt is read alone, in shapes that depend on it alone.
#pragma once

#include <vector>

#include "architectures/gpt2_model.h"
#include "architectures/gpt2_weights.h"
#include "transformer/device.h"

namespace predictor {

class Gpt2OnDevice : public Gpt2Model {
 public:
  // Reads the weights and warms up. Throws ModelError, and c10::Error where the device has no room.
  Gpt2OnDevice(const Gpt2Config& config, const Gpt2Weights& weights, Precision precision, Device device,
               uint32_t slots);

  std::span<float> forward(std::span<const Row> rows, std::span<const uint32_t> logit_rows) override;
  bool is_batch_invariant() const override { return batch_invariant_; }

 private:
  // Rows that go through the model together: `tokens` of each of `slots` sequences. On the device, int64 [slots *
  // tokens]:
  struct Pass {
    int64_t first_slot;
    int64_t slots;
    int64_t tokens;
    at::Tensor token;
    at::Tensor position;
    at::Tensor place;       // in the cache
    at::Tensor logit_rows;  // [logits]: of which rows they are returned
    bool is_decode_step() const { return tokens == 1; }
  };

  Pass decode_step(std::span<const Row> rows, std::span<const uint32_t> logit_rows) const;
  Pass prefill(std::span<const Row> rows, std::span<const uint32_t> logit_rows) const;
  at::Tensor run(const Pass& pass);
  at::Tensor attention(size_t layer, const Pass& pass, const at::Tensor& qkv, const at::Tensor& later);
  at::Tensor normalized(const Gpt2Norm& norm, const at::Tensor& x) const;
  void warm_up();

  const Device device_;
  const int64_t slots_;
  at::Tensor token_embeddings_;     // [vocabulary, hidden_size]
  at::Tensor position_embeddings_;  // [context, hidden_size]
  std::vector<Gpt2Layer> layers_;
  Gpt2Norm final_norm_;
  Gpt2Matrix lm_head_;
  at::Tensor places_;  // [context + 1]: 0, 1, ...
  at::Tensor cache_;   // [layers, keys and values, slots, heads, context + 1, head_size]; the last place is for rows
                       // that fill a shape up
  at::Tensor logits_;  // of the last call, on the processor
  bool batch_invariant_ = true;
};

}  // namespace predictor
