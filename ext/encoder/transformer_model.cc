#include "encoder/transformer_model.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "architectures/registry.h"
#include "heads/head.h"
#include "transformer/linear.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

// oneDNN compiles a product for every number of rows that it has not seen, up to a millisecond and a megabyte each:
// where it multiplies, the tokens of a batch are filled up to a multiple of this, with texts of one token that nobody
// asks for.
constexpr int64_t kTokensRoundedTo = 16;

}  // namespace

struct TransformerModel::Parts {
  Parts(const TransformerSource& source, Precision precision, const std::string& device, uint32_t max_tokens)
      : execution{precision, Device(device), max_tokens}, files(source.places) {
    if (precision == Precision::int4) {
      throw ModelError("int4 is for models that generate text; for this one take int8 (setting precision)");
    }
    if (!execution.device.is_processor() && precision == Precision::int8) {
      throw ModelError("int8 is for the processor; on a card take bfloat16 (setting precision)");
    }
    const c10::InferenceMode inference;
    const WeightReader reader(files.weights());
    transformer.emplace(make_text_transformer(source.config, reader, execution));
    head = make_head(source.head, *transformer, reader, execution);
    execution.device.wait();
    files.forget();  // what was packed; embeddings are read again as texts need them
  }

  const Execution execution;
  const ModelFiles files;
  std::optional<TextTransformer> transformer;
  std::unique_ptr<Head> head;
};

TransformerModel::TransformerModel(const TransformerSource& source, Precision precision, const std::string& device,
                                   uint32_t max_tokens)
    : parts_(std::make_unique<Parts>(source, precision, device, max_tokens)) {}

TransformerModel::~TransformerModel() = default;

int64_t TransformerModel::columns() const {
  return parts_->head->columns();
}

int64_t TransformerModel::vocabulary() const {
  return parts_->transformer->vocabulary();
}

int64_t TransformerModel::max_positions() const {
  return parts_->transformer->max_positions;
}

bool TransformerModel::compiles_shapes() const {
  return parts_->execution.device.is_processor() && Linear::compiles_shapes(parts_->execution.precision);
}

std::vector<std::vector<float>> TransformerModel::run(std::span<const TextTokens* const> texts) const {
  const c10::InferenceMode inference;
  const Device& device = parts_->execution.device;
  const auto on_stream = device.guard();
  TextBatch batch;
  int64_t tokens = 0;
  for (const TextTokens* text : texts) {
    const auto length = static_cast<int64_t>(text->ids.size());
    batch.lengths.push_back(length);
    batch.second_begins.push_back(text->second_begins);
    batch.prompt_tokens.push_back(text->prompt_tokens);
    batch.seen.push_back(text->seen);
    tokens += length;
  }
  const int64_t filling = compiles_shapes() ? (kTokensRoundedTo - tokens % kTokensRoundedTo) % kTokensRoundedTo : 0;
  batch.lengths.insert(batch.lengths.end(), static_cast<size_t>(filling), 1);
  batch.second_begins.insert(batch.second_begins.end(), static_cast<size_t>(filling), 1);
  batch.prompt_tokens.insert(batch.prompt_tokens.end(), static_cast<size_t>(filling), 0);
  batch.seen.insert(batch.seen.end(), static_cast<size_t>(filling), 1);
  batch.ids = at::empty({tokens + filling}, at::kInt);
  int32_t* next = batch.ids.mutable_data_ptr<int32_t>();
  for (const TextTokens* text : texts) next = std::copy(text->ids.begin(), text->ids.end(), next);
  std::fill_n(next, filling, 0);
  const at::Tensor hidden = parts_->transformer->forward(batch, parts_->execution);
  std::vector<Vector> answers = parts_->head->apply(hidden, batch);
  answers.resize(texts.size());
  return answers;
}

std::vector<std::string> served_architectures() {
  return text_architectures();
}

}  // namespace predictor
