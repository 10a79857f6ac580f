#include "architectures/text_transformer.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace predictor {

at::Tensor TokenEmbeddings::apply(const TextBatch& batch) const {
  at::Tensor x = at::empty({batch.tokens(), words.size()}, at::kFloat);
  float* out = x.mutable_data_ptr<float>();
  const int32_t* id = batch.ids.const_data_ptr<int32_t>();
  for (size_t text = 0; text < batch.lengths.size(); ++text) {
    int64_t position = first_position;
    for (int64_t i = 0; i < batch.lengths[text]; ++i, ++id, out += words.size()) {
      words.read(*id, out);
      if (scale != 1) std::for_each(out, out + words.size(), [this](float& number) { number *= scale; });
      const bool is_padding = padding && *id == *padding;
      if (positions) positions->add(is_padding ? *padding : position, out);
      if (!is_padding) ++position;
      if (types) types->add(types->rows() > 1 && i >= batch.second_begins[text] ? 1 : 0, out);
    }
  }
  if (norm) norm->apply(x);
  return x;
}

at::Tensor TextTransformer::forward(const TextBatch& batch, const Execution& execution) const {
  at::Tensor x = embeddings.apply(batch);
  if (!execution.device.is_processor()) {
    x = execution.device.bring(x);
    if (execution.precision == Precision::bfloat16) x = x.to(at::kBFloat16);
  }
  if (embeddings.projection) x = embeddings.projection->apply(x);
  if (embeddings.projected_norm) embeddings.projected_norm->apply(x);
  const at::Tensor embedded = after_first_layer ? x.clone() : at::Tensor();
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i]->apply(x, batch);
    if (i == 0 && after_first_layer) after_first_layer(embedded, x, batch);
  }
  if (final_norm) final_norm->apply(x);
  return x.is_cpu() ? x : execution.device.fetch(x.to(at::kFloat));
}

}  // namespace predictor
