#include "torchscript/engine.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "text/json.h"
#include "torchscript/warm_up.h"
#include "transformer/threads.h"

namespace predictor {

namespace {

constexpr uint32_t kBytesOfQuickToken = 16;

bool is_finite(const Result& result) {
  return std::all_of(result.values.begin(), result.values.end(), [](double value) { return std::isfinite(value); });
}

class TorchScriptExecutor : public Executor {
 public:
  TorchScriptExecutor(std::shared_ptr<TorchScriptModel> model, uint32_t threads)
      : model_(std::move(model)), threads_(threads) {}

  void begin() override { set_threads(threads_); }

  void run(std::span<Request* const> batch) override {
    documents_.clear();
    for (Request* request : batch) documents_.push_back(&static_cast<PredictRequest*>(request)->document);
    std::vector<Result> results = model_->run(documents_);
    for (size_t i = 0; i < batch.size(); ++i) {
      auto& request = *static_cast<PredictRequest*>(batch[i]);
      request.result = std::move(results[i]);
      if (request.form) request.written = written(request.result, *request.form);
      if (!request.written.empty()) request.result = {};  // freed by the thread that made it, which costs less
    }
  }

 private:
  std::string written(const Result& result, const ScoresForm& form) {
    if (!result.labels || !is_finite(result)) return "";
    return form.json ? writer_.write(result) : form.write(result);
  }

  const std::shared_ptr<TorchScriptModel> model_;
  const uint32_t threads_;
  std::vector<const Document*> documents_;
  JsonWriter writer_;
};

// The outcome of a text that does not come into the queue.
void refuse(Collector& collector, size_t place, Status status, std::string message) {
  auto outcome = std::make_unique<Request>();
  outcome->place = place;
  outcome->status = status;
  outcome->message = std::move(message);
  collector.add(std::move(outcome));
}

void validate(const EngineConfig& config) {
  const auto require = [](bool in_range, const char* message) {
    if (!in_range) throw std::invalid_argument(message);
  };
  require(config.replicas >= 1 && config.replicas <= kMaxReplicas, "replicas must be 1 to 256");
  require(config.threads >= 1 && config.threads <= kMaxThreads, "threads must be 1 to 256");
  require(config.warm_up_tokens <= kMaxWarmUpTokens, "warm_up_tokens must be 0 to 65536");
  require(config.inline_us <= kMaxInlineUs, "inline_us must be 0 to 1000000");
  require(config.max_token_bytes >= kMinTokenBytes && config.max_token_bytes <= kMaxTextBytes,
          "max_token_bytes must be 16 to 16777216");
  require(config.max_message_bytes >= 1 && config.max_message_bytes <= kMaxTextBytes,
          "max_message_bytes must be 1 to 16777216");
  validate(config.limits, config.policy);
}

// Which requests may share a batch. Of a module that splits texts itself the number of tokens is not known: where the
// length matters, each text runs alone.
PolicyConfig sharing(PolicyConfig policy, TorchScriptModel& model, std::optional<bool> equal_lengths) {
  policy.equal_lengths = equal_lengths ? *equal_lengths : depends_on_batch_mates(model);
  if (policy.equal_lengths && model.takes_texts()) policy.batch_items = 1;
  return policy;
}

}  // namespace

TorchScriptEngine::TorchScriptEngine(const std::string& path, const EngineConfig& config)
    : max_token_bytes_(config.max_token_bytes), max_message_bytes_(config.max_message_bytes) {
  validate(config);
  set_threads(config.threads);
  model_ = std::make_shared<TorchScriptModel>(path, config.device);
  sample_ = answer_sample(*model_);  // first: a model that fails on everything is refused with that
  const PolicyConfig policy = sharing(config.policy, *model_, config.equal_lengths);
  const uint32_t longest = std::min(config.warm_up_tokens, config.limits.max_tokens);
  if (longest > 0) {
    const std::vector<uint32_t> lengths = length_buckets(longest);
    warm_up(*model_, lengths, policy.batch_items, policy.batch_tokens);
    // one that may take long, or for ever, must not hold up the thread that submits
    if (model_->loops_are_short()) {
      inline_tokens_ = longest_within(*model_, lengths, Nanoseconds{config.inline_us} * 1000);
    }
  }
  queue_ = std::make_unique<Queue>(config.limits, policy, config.replicas);
  std::unique_ptr<Executor> for_lone_ones;
  if (inline_tokens_ > 0) for_lone_ones = std::make_unique<TorchScriptExecutor>(model_->replica(), config.threads);
  inline_runner_ = std::make_unique<InlineRunner>(*queue_, std::move(for_lone_ones));
  std::vector<std::unique_ptr<Executor>> executors;
  for (uint32_t i = 0; i < config.replicas; ++i) {
    std::shared_ptr<TorchScriptModel> model = i == 0 ? model_ : model_->replica();
    executors.push_back(std::make_unique<TorchScriptExecutor>(std::move(model), config.threads));
  }
  workers_ = std::make_unique<Workers>(*queue_, std::move(executors));
}

// How long a model takes is known of words as they are, not of very long ones.
bool TorchScriptEngine::is_quick(const Request& request) const {
  return request.tokens <= inline_tokens_ &&
         static_cast<const PredictRequest&>(request).bytes <= size_t{kBytesOfQuickToken} * inline_tokens_;
}

bool TorchScriptEngine::wake() {
  return inline_runner_->wake([this](const Request& request) { return is_quick(request); });
}

Submission TorchScriptEngine::submit(std::string_view text, Lane lane, Nanoseconds deadline, void* tag, uint64_t flow,
                                     std::shared_ptr<const ScoresForm> form) {
  std::unique_ptr<PredictRequest> request = make_request(text, lane, deadline);
  if (!request) return {Admission::too_many_bytes, 0};
  request->tag = tag;
  request->flow = flow;
  request->form = std::move(form);
  return queue_->submit(std::move(request));
}

std::unique_ptr<PredictRequest> TorchScriptEngine::make_request(std::string_view text, Lane lane,
                                                                Nanoseconds deadline) const {
  const bool takes_texts = model_->takes_texts();
  if (takes_texts && text.size() > max_message_bytes_) return nullptr;
  const size_t token_bytes = takes_texts ? text.size() : max_token_bytes_;
  auto request = std::make_unique<PredictRequest>();
  request->bytes = text.size();
  request->document.tokens = tokenize(text, queue_->limits().max_tokens, token_bytes);
  if (!takes_texts && request->document.tokens.back().size() > token_bytes) return nullptr;
  request->tokens = static_cast<uint32_t>(request->document.tokens.size());
  if (takes_texts) {
    request->document.text = text;
    request->document.tokens.clear();
  }
  request->lane = lane;
  request->deadline = deadline;
  return request;
}

std::string TorchScriptEngine::byte_limit() const {
  if (model_->takes_texts()) {
    return "the text has more than " + std::to_string(max_message_bytes_) + " bytes (setting max_message_bytes)";
  }
  return "a token of the text has more than " + std::to_string(max_token_bytes_) + " bytes (setting max_token_bytes)";
}

size_t TorchScriptEngine::submit_bulk(std::span<const std::string_view> texts, size_t first,
                                      const std::shared_ptr<Collector>& collector) {
  for (; first < texts.size(); ++first) {
    if (texts[first].data() == nullptr) {
      refuse(*collector, first, Status::invalid_argument, "the text is not valid Unicode");
      continue;
    }
    std::unique_ptr<PredictRequest> request = make_request(texts[first], Lane::bulk, kNever);
    if (!request) {
      refuse(*collector, first, Status::too_large, byte_limit());
      continue;
    }
    request->collector = collector;
    request->place = first;
    const Admission admission = queue_->submit(std::move(request)).admission;
    if (is_full(admission)) break;
    if (admission == Admission::too_long) {
      const std::string most = std::to_string(queue_->limits().max_tokens);
      refuse(*collector, first, Status::too_large, "the text has more than " + most + " tokens (setting max_tokens)");
    } else if (admission == Admission::draining) {
      refuse(*collector, first, Status::unavailable, "the model is being unloaded");
    }
  }
  queue_->wake();
  return first;
}

}  // namespace predictor
