#include "torchscript_engine.h"

#include <utility>

#include "warm_up.h"

namespace predictor {

namespace {

class TorchScriptExecutor : public Executor {
 public:
  TorchScriptExecutor(std::shared_ptr<TorchScriptModel> model, int threads)
      : model_(std::move(model)), threads_(threads) {}

  void begin() override { TorchScriptModel::set_threads(threads_); }  // holds for the calling thread

  void run(std::span<Request* const> batch) override {
    documents_.clear();
    for (Request* request : batch) documents_.push_back(&static_cast<PredictRequest*>(request)->document);
    std::vector<Result> results = model_->run(documents_);
    for (size_t i = 0; i < batch.size(); ++i) {
      static_cast<PredictRequest*>(batch[i])->result = std::move(results[i]);
    }
  }

 private:
  const std::shared_ptr<TorchScriptModel> model_;
  const int threads_;
  std::vector<const Document*> documents_;
};

// Which requests may share a batch. Of a module that splits texts itself the number of tokens is not known: where the
// length matters, each text runs alone.
PolicyConfig sharing(PolicyConfig policy, TorchScriptModel& model, std::optional<bool> equal_lengths) {
  policy.equal_lengths = equal_lengths ? *equal_lengths : depends_on_batch_mates(model);
  if (policy.equal_lengths && model.takes_texts()) policy.batch_items = 1;
  return policy;
}

}  // namespace

TorchScriptEngine::TorchScriptEngine(const std::string& path, const EngineConfig& config)
    : model_(std::make_shared<TorchScriptModel>(path)) {
  TorchScriptModel::set_threads(config.threads);
  warm_up(*model_, {1}, 1, 1);  // a model that fails on everything is refused with that, not with what the probe says
  const Document document{"set an alarm", tokenize("set an alarm", 3)};
  const Document* documents[] = {&document};
  sample_ = std::move(model_->run(documents).at(0));
  const PolicyConfig policy = sharing(config.policy, *model_, config.equal_lengths);
  if (config.warm_up_tokens > 0) {
    warm_up(*model_, length_buckets(config.warm_up_tokens), policy.batch_items, policy.batch_tokens);
  }
  queue_ = std::make_unique<Queue>(config.limits, policy);
  std::vector<std::unique_ptr<Executor>> executors;
  for (unsigned i = 0; i < config.replicas; ++i) {
    executors.push_back(std::make_unique<TorchScriptExecutor>(model_, config.threads));
  }
  workers_ = std::make_unique<Workers>(*queue_, std::move(executors));
}

Submission TorchScriptEngine::submit(std::string_view text, Lane lane, Nanoseconds deadline, void* tag) {
  auto request = std::make_unique<PredictRequest>();
  request->document.tokens = tokenize(text, queue_->limits().max_tokens);
  request->tokens = static_cast<uint32_t>(request->document.tokens.size());
  if (model_->takes_texts()) {
    request->document.text = text;
    request->document.tokens.clear();
  }
  request->lane = lane;
  request->deadline = deadline;
  request->tag = tag;
  return queue_->submit(std::move(request));
}

}  // namespace predictor
