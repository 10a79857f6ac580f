#include "architectures/text_transformer.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "transformer/loops.h"

namespace predictor {

namespace {

// On the card, in the precision's type.
at::Tensor brought(const at::Tensor& x, const Execution& execution) {
  const at::Tensor there = execution.device.bring(x);
  return execution.precision == Precision::bfloat16 ? there.to(at::kBFloat16) : there;
}

}  // namespace

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

at::Tensor TokenEmbeddings::apply(std::span<const SequenceChunk> chunks) const {
  size_t tokens = 0;
  for (const SequenceChunk& chunk : chunks) tokens += chunk.tokens.size();
  at::Tensor x = at::empty({static_cast<int64_t>(tokens), words.size()}, at::kFloat);
  float* out = x.mutable_data_ptr<float>();
  for (const SequenceChunk& chunk : chunks) {
    int64_t position = first_position + static_cast<int64_t>(chunk.first);
    for (const uint32_t token : chunk.tokens) {
      words.read(token, out);
      if (scale != 1) std::for_each(out, out + words.size(), [this](float& number) { number *= scale; });
      if (positions) positions->add(position, out);
      ++position;
      out += words.size();
    }
  }
  if (norm) norm->apply(x);
  return x;
}

// What the embeddings give, where the layers run and of their size.
at::Tensor TextTransformer::to_layers(at::Tensor x, const Execution& execution) const {
  if (!by_loops(execution.device)) x = brought(x, execution);
  if (embeddings.projection) x = embeddings.projection->apply(x);
  if (embeddings.projected_norm) embeddings.projected_norm->apply(x);
  return x;
}

at::Tensor TextTransformer::forward(const TextBatch& batch, const Execution& execution) const {
  at::Tensor x = to_layers(embeddings.apply(batch), execution);
  const at::Tensor embedded = after_first_layer ? x.clone() : at::Tensor();
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i]->apply(x, batch);
    if (i == 0 && after_first_layer) after_first_layer(embedded, x, batch);
  }
  if (final_norm) final_norm->apply(x);
  return by_loops(x) ? x : execution.device.fetch(x.to(at::kFloat));
}

at::Tensor TextTransformer::forward(std::span<const SequenceChunk> chunks, std::span<const uint32_t> rows,
                                    const KvCache& cache, const Execution& execution) const {
  at::Tensor x = to_layers(embeddings.apply(chunks), execution);
  if (!by_loops(execution.device)) return forward_by_operators(std::move(x), chunks, rows, cache, execution);
  for (size_t i = 0; i < layers.size(); ++i) layers[i]->apply(x, CachedBatch{chunks, cache, i, nullptr});
  at::Tensor chosen = at::empty({static_cast<int64_t>(rows.size()), x.size(1)}, at::kFloat);
  const auto width = static_cast<size_t>(x.size(1));
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(x.const_data_ptr<float>() + rows[i] * width, width, chosen.mutable_data_ptr<float>() + i * width);
  }
  if (final_norm && !rows.empty()) final_norm->apply(chosen);
  return chosen;
}

// On a card.
at::Tensor TextTransformer::forward_by_operators(at::Tensor x, std::span<const SequenceChunk> chunks,
                                                 std::span<const uint32_t> rows, const KvCache& cache,
                                                 const Execution& execution) const {
  const StepPlaces places(chunks, execution.device);
  for (size_t i = 0; i < layers.size(); ++i) layers[i]->apply(x, CachedBatch{chunks, cache, i, &places});
  at::Tensor chosen = x.index_select(0, execution.device.bring(indices(rows)));
  if (final_norm && !rows.empty()) final_norm->apply(chosen);
  return chosen;
}

std::vector<kernels::AttentionShape> TextTransformer::attention_shapes() const {
  std::vector<kernels::AttentionShape> shapes;
  for (const auto& layer : layers) shapes.push_back(layer->attention.shape);
  return shapes;
}

}  // namespace predictor
