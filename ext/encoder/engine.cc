#include "encoder/engine.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "torchscript/warm_up.h"
#include "transformer/threads.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

constexpr uint32_t kWarmUpItems = 4;      // enough for what a batch does that a text alone does not
constexpr uint32_t kWarmUpTokens = 1024;  // the largest batch of the warm-up

class EncoderExecutor : public Executor {
 public:
  EncoderExecutor(std::unique_ptr<EncoderModel> model, uint32_t threads)
      : model_(std::move(model)), threads_(threads) {}

  void begin() override { set_threads(threads_); }

  void run(std::span<Request* const> batch) override {
    requests_.clear();
    for (Request* request : batch) requests_.push_back(static_cast<EncodeRequest*>(request));
    std::sort(requests_.begin(), requests_.end(), [](const EncodeRequest* a, const EncodeRequest* b) {
      return a->ids.size() < b->ids.size();  // texts of equal length share an attention
    });
    texts_.clear();
    for (const EncodeRequest* request : requests_) texts_.push_back(&request->ids);
    std::vector<Vector> vectors = model_->run(texts_);
    for (size_t i = 0; i < requests_.size(); ++i) requests_[i]->vector = std::move(vectors[i]);
  }

 private:
  const std::unique_ptr<EncoderModel> model_;
  const uint32_t threads_;
  std::vector<EncodeRequest*> requests_;
  std::vector<const TokenIds*> texts_;
};

void validate(const EncoderConfig& config) {
  const auto require = [](bool in_range, const char* message) {
    if (!in_range) throw std::invalid_argument(message);
  };
  require(config.replicas >= 1 && config.replicas <= kMaxReplicas, "replicas must be 1 to 256");
  require(config.threads >= 1 && config.threads <= kMaxThreads, "threads must be 1 to 256");
  require(config.warm_up_tokens <= kMaxWarmUpTokens, "warm_up_tokens must be 0 to 65536");
  require(config.vocabulary >= 1 && config.vocabulary <= INT32_MAX, "vocabulary must be 1 to 2147483647");
  validate(config.limits, config.policy);
}

// The vectors of `count` texts of so many tokens. Throws ModelError.
std::vector<Vector> run_sample(EncoderModel& model, const EncoderConfig& config, uint32_t length, uint32_t count) {
  const TokenIds text(length, static_cast<int32_t>(config.vocabulary - 1));
  const std::vector<const TokenIds*> texts(count, &text);
  try {
    return model.run(texts);
  } catch (const std::exception& error) {
    throw ModelError("the model fails on " + std::to_string(count) + " texts of " + std::to_string(length) +
                     " tokens: " + reason(error));
  }
}

}  // namespace

EncoderEngine::EncoderEngine(const std::string& path, const EncoderConfig& config) : vocabulary_(config.vocabulary) {
  validate(config);
  set_threads(config.threads);
  auto model = std::make_unique<EncoderModel>(path, config.device);
  // The longest text, of the last token: a file that does not go with the limits is found out now.
  const Vector sample = run_sample(*model, config, config.limits.max_tokens, 1).at(0);
  if (!std::all_of(sample.begin(), sample.end(), [](float number) { return std::isfinite(number); })) {
    throw ModelError("the model gives numbers that are not finite; its weights may be damaged");
  }
  dimensions_ = sample.size();
  if (const uint32_t longest = std::min(config.warm_up_tokens, config.limits.max_tokens); longest > 0) {
    for (uint32_t length : length_buckets(longest)) {
      for (uint32_t count : {uint32_t{1}, std::min(config.policy.batch_items, kWarmUpItems)}) {
        for (int i = 0; i < kRunsToSettle; ++i) run_sample(*model, config, length, count);
      }
    }
    const uint32_t most = std::min(config.policy.batch_tokens, kWarmUpTokens);
    for (uint32_t tokens = kTokensRoundedTo; tokens <= most; tokens += kTokensRoundedTo) {
      run_sample(*model, config, 1, tokens);
    }
  }
  queue_ = std::make_unique<Queue>(config.limits, config.policy, config.replicas);
  std::vector<std::unique_ptr<Executor>> executors;
  for (uint32_t i = 1; i < config.replicas; ++i) {
    executors.push_back(std::make_unique<EncoderExecutor>(model->replica(), config.threads));
  }
  executors.push_back(std::make_unique<EncoderExecutor>(std::move(model), config.threads));
  workers_ = std::make_unique<Workers>(*queue_, std::move(executors));
}

Submission EncoderEngine::submit(TokenIds ids, Lane lane, Nanoseconds deadline, void* tag) {
  const auto in_vocabulary = [this](int32_t id) { return id >= 0 && static_cast<uint32_t>(id) < vocabulary_; };
  if (ids.empty() || !std::all_of(ids.begin(), ids.end(), in_vocabulary)) {
    throw std::invalid_argument("token ids must lie in the vocabulary, and there must be one at least");
  }
  auto request = std::make_unique<EncodeRequest>();
  request->tokens = static_cast<uint32_t>(ids.size());
  request->ids = std::move(ids);
  request->lane = lane;
  request->deadline = deadline;
  request->tag = tag;
  return queue_->submit(std::move(request));
}

bool EncoderEngine::wake() {
  queue_->wake();
  return false;
}

}  // namespace predictor
