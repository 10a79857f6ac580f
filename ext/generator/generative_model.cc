#include "generator/generative_model.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "architectures/registry.h"
#include "transformer/linear.h"
#include "transformer/loops.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

constexpr size_t kRowsInMemory = 16;  // of embeddings: the system maps up to 2 MiB where one is looked at
constexpr uint64_t kMaxPages = std::numeric_limits<int32_t>::max();

// The matrix that turns hidden states into logits.
std::unique_ptr<Linear> read_head(const TextTransformer& transformer, const WeightReader& weights,
                                  const Execution& execution) {
  const LanguageHead& head = *transformer.language_head;
  const int64_t vocabulary = transformer.vocabulary();
  const at::Tensor bias = head.biased ? weights.floats(head.weight + ".bias", {vocabulary}) : at::Tensor();
  const at::Tensor weight = head.tied ? transformer.embeddings.words.weight()
                                      : weights.tensor(head.weight + ".weight", {vocabulary, transformer.hidden_size});
  return Linear::make(execution, weight, bias);
}

// Pages for `bytes`, at most as many as texts of all positions could need. Throws ModelError where one is too many.
uint32_t pages_for(const std::vector<kernels::AttentionShape>& shapes, const GenerativeModelSettings& settings) {
  const size_t page = KvCache::page_bytes(shapes, settings.precision);
  const uint64_t pages = std::min<uint64_t>(settings.cache_bytes / page, kMaxPages);
  if (pages < 2) {
    throw ModelError("the cache of keys and values has " + std::to_string(settings.cache_bytes) +
                     " bytes (setting cache_bytes); this model needs at least " + std::to_string(2 * page) + ", for " +
                     std::to_string(2 * kernels::kPageTokens) + " tokens");
  }
  return static_cast<uint32_t>(pages);
}

}  // namespace

struct GenerativeModel::Parts {
  Parts(const Config& config, const WeightPlaces& places, const GenerativeModelSettings& settings)
      : execution{settings.precision, Device(settings.device), settings.max_tokens, true}, files(places) {
    const bool is_whole = settings.precision == Precision::int8 || settings.precision == Precision::int4;
    if (!by_loops(execution.device) && is_whole) {
      throw ModelError("int8 and int4 are for the processor; on a card take bfloat16 (setting precision)");
    }
    const c10::InferenceMode inference;
    const auto on_stream = execution.device.guard();
    const WeightReader reader(files.weights());
    transformer.emplace(make_text_transformer(config, reader, execution));
    if (!transformer->language_head) throw ModelError("this architecture does not generate text");
    head = read_head(*transformer, reader, execution);
    files.forget();  // what was packed; embeddings are read again as texts need them
    const std::vector<kernels::AttentionShape> shapes = transformer->attention_shapes();
    cache.emplace(shapes, pages_for(shapes, settings), execution);
    execution.device.wait();
  }

  const Execution execution;
  const ModelFiles files;
  std::optional<TextTransformer> transformer;
  std::unique_ptr<Linear> head;
  std::optional<KvCache> cache;
  at::Tensor logits;     // of the last call
  size_t looked_up = 0;  // rows of embeddings, since the files were forgotten
};

GenerativeModel::GenerativeModel(const Config& config, const WeightPlaces& places,
                                 const GenerativeModelSettings& settings)
    : parts_(std::make_unique<Parts>(config, places, settings)) {
  const uint32_t token = 0;
  const uint32_t page = 0;
  const SequenceChunk first{{&token, 1}, 0, {&page, 1}};
  const std::span<const float> logits = forward({&first, 1}, {&token, 1});
  if (!std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); })) {
    throw ModelError("the model gives numbers that are not finite; its weights may be damaged");
  }
}

GenerativeModel::~GenerativeModel() = default;

std::span<float> GenerativeModel::forward(std::span<const SequenceChunk> chunks, std::span<const uint32_t> logit_rows) {
  const c10::InferenceMode inference;
  const Device& device = parts_->execution.device;
  const auto on_stream = device.guard();
  const at::Tensor hidden = parts_->transformer->forward(chunks, logit_rows, *parts_->cache, parts_->execution);
  for (const SequenceChunk& chunk : chunks) parts_->looked_up += chunk.tokens.size();
  if (parts_->looked_up >= kRowsInMemory) {
    parts_->files.forget();
    parts_->looked_up = 0;
  }
  if (logit_rows.empty()) return {};
  parts_->logits = parts_->head->apply(hidden);
  if (!by_loops(parts_->logits)) parts_->logits = device.fetch(parts_->logits.to(at::kFloat));
  const std::span<float> logits(parts_->logits.mutable_data_ptr<float>(), logit_rows.size() * vocabulary());
  const LanguageHead& head = *parts_->transformer->language_head;
  if (head.scale != 1) {
    for (float& logit : logits) logit *= head.scale;
  }
  if (head.soft_cap > 0) {
    for (float& logit : logits) logit = head.soft_cap * std::tanh(logit / head.soft_cap);
  }
  return logits;
}

bool GenerativeModel::is_batch_invariant() const {
  return by_loops(parts_->execution.device) && parts_->head->is_batch_invariant();
}

uint32_t GenerativeModel::vocabulary() const {
  return static_cast<uint32_t>(parts_->transformer->vocabulary());
}

uint32_t GenerativeModel::positions() const {
  const auto most = static_cast<uint64_t>(parts_->transformer->max_positions);
  const uint64_t longest = parts_->execution.max_tokens;
  return static_cast<uint32_t>(most == 0 ? longest : std::min(most, longest));
}

uint32_t GenerativeModel::context() const {
  return static_cast<uint32_t>(std::min<uint64_t>(positions(), uint64_t{pages()} * kernels::kPageTokens));
}

size_t GenerativeModel::page_bytes() const {
  return KvCache::page_bytes(parts_->transformer->attention_shapes(), parts_->execution.precision);
}

uint32_t GenerativeModel::pages() const {
  return parts_->cache->pages();
}

std::vector<std::string> generator_architectures() {
  return generating_architectures();
}

}  // namespace predictor
