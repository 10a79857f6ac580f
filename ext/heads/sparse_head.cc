#include "heads/sparse_head.h"

#include <bit>
#include <cmath>

#include "weights/model_error.h"

namespace predictor {

SparseHead::SparseHead(const Config& description, const TextTransformer& transformer, const WeightReader& weights,
                       const Execution& execution)
    : vocabulary_(transformer.vocabulary()) {
  if (!transformer.vocabulary_head) throw ModelError("this architecture is not served with sparse vectors");
  const std::string pooling = description.text("pooling", "max");
  if (pooling != "max" && pooling != "sum") description.refuse("pooling", "served are max and sum");
  sums_ = pooling == "sum";
  const std::string activation = description.text("activation", "relu");
  if (activation != "relu" && activation != "log1p_relu") {
    description.refuse("activation", "served are relu and log1p_relu");
  }
  logarithmic_twice_ = activation == "log1p_relu";
  const VocabularyHead& head = *transformer.vocabulary_head;
  const Execution local{execution.precision, Device("cpu"), execution.max_tokens};
  layer_ = std::make_unique<HeadPart>(head.layer, transformer.hidden_size, head.size, weights, local);
  const at::Tensor decoder = weights.has(head.decoder) ? weights.tensor(head.decoder, {vocabulary_, head.size})
                                                       : transformer.embeddings.words.weight();
  if (decoder.size(1) != head.size) throw ModelError("the embeddings do not go with the masked language model's head");
  decoder_ = Linear::make(local, decoder, head.bias.empty() ? at::Tensor() : weights.floats(head.bias, {vocabulary_}));
}

std::vector<Vector> SparseHead::apply(const at::Tensor& hidden, const TextBatch& batch) const {
  std::vector<Vector> answers;
  std::vector<float> pooled;
  const auto activated = [this](float logit) {
    const float once = std::log1p(logit < 0 ? 0.0f : logit);  // a NaN stays
    return logarithmic_twice_ ? std::log1p(once) : once;
  };
  int64_t begin = 0;
  for (const int64_t length : batch.lengths) {  // a text at a time: its logits are as many as the vocabulary, a token
    const at::Tensor logits = decoder_->apply(layer_->apply(hidden.narrow(0, begin, length)));
    const float* row = logits.const_data_ptr<float>();
    pooled.assign(static_cast<size_t>(vocabulary_), sums_ ? 0.0f : -INFINITY);
    for (int64_t i = 0; i < length; ++i, row += vocabulary_) {
      for (size_t token = 0; token < pooled.size(); ++token) {
        if (sums_) {
          pooled[token] += activated(row[token]);
        } else {
          pooled[token] = row[token] > pooled[token] || row[token] != row[token] ? row[token] : pooled[token];
        }
      }
    }
    Vector pairs;
    for (size_t token = 0; token < pooled.size(); ++token) {
      const float weight = sums_ ? pooled[token] : activated(pooled[token]);
      if (weight == 0.0f) continue;
      pairs.push_back(std::bit_cast<float>(static_cast<int32_t>(token)));
      pairs.push_back(weight);
    }
    answers.push_back(std::move(pairs));
    begin += length;
  }
  return answers;
}

}  // namespace predictor
