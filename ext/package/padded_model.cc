#include "package/padded_model.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "heads/vector_head.h"
#include "transformer/weight_reader.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

// The rows of tokens that are no padding, one text after the other; of rows of texts all.
at::Tensor without_padding(const at::Tensor& output, const std::vector<int64_t>& lengths) {
  if (output.dim() == 2) return output;
  std::vector<at::Tensor> texts;
  for (size_t text = 0; text < lengths.size(); ++text) {
    texts.push_back(output[static_cast<int64_t>(text)].narrow(0, 0, lengths[text]));
  }
  return at::cat(texts);
}

std::unique_ptr<Head> make_head(const Config& description, const ProgramOutput& output, const WeightReader& weights) {
  const std::string name = description.text("output");
  if (name == "vector" && output.of_tokens) return std::make_unique<VectorHead>(description, output.columns, weights);
  return std::make_unique<TokenVectorHead>(description, output.columns, weights);
}

}  // namespace

PaddedModel::PaddedModel(std::shared_ptr<const Program> program, const ProgramOutput& output,
                         const PaddedModelSource& source)
    : program_(std::move(program)),
      output_(output),
      files_(source.places),
      vocabulary_(source.vocabulary),
      max_positions_(source.max_positions),
      padding_id_(source.padding_id) {
  const c10::InferenceMode inference;
  head_ = make_head(source.head, output, WeightReader(files_.weights()));
}

std::vector<std::vector<float>> PaddedModel::run(std::span<const TextTokens* const> texts) const {
  const c10::InferenceMode inference;
  const PaddedTexts inputs = padded(texts);
  const at::Tensor output = program_->run(inputs);
  require_output(output, inputs, output_);
  TextBatch batch;
  for (const TextTokens* text : texts) {
    batch.lengths.push_back(output_.of_tokens ? static_cast<int64_t>(text->ids.size()) : 1);
    batch.second_begins.push_back(text->second_begins);
    batch.prompt_tokens.push_back(text->prompt_tokens);
  }
  return head_->apply(without_padding(output, batch.lengths).to(at::kFloat).contiguous(), batch);
}

PaddedTexts PaddedModel::padded(std::span<const TextTokens* const> texts) const {
  const auto longer = [](const TextTokens* a, const TextTokens* b) { return a->ids.size() < b->ids.size(); };
  const auto longest = static_cast<int64_t>((*std::max_element(texts.begin(), texts.end(), longer))->ids.size());
  const std::vector<int64_t> shape = {static_cast<int64_t>(texts.size()), longest};
  PaddedTexts padded{at::full(shape, padding_id_, at::kLong), at::zeros(shape, at::kLong), at::zeros(shape, at::kLong)};
  auto* ids = padded.ids.mutable_data_ptr<int64_t>();
  auto* mask = padded.mask.mutable_data_ptr<int64_t>();
  auto* types = padded.types.mutable_data_ptr<int64_t>();
  for (const TextTokens* text : texts) {
    std::copy(text->ids.begin(), text->ids.end(), ids);
    std::fill_n(mask, text->seen, 1);
    std::fill(types + text->second_begins, types + text->ids.size(), 1);
    ids += longest;
    mask += longest;
    types += longest;
  }
  return padded;
}

}  // namespace predictor
