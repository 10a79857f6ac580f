#include "encoder/text_engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "encoder/batch_mates.h"
#include "torchscript/warm_up.h"
#include "transformer/threads.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

constexpr uint32_t kWarmUpTokens = 512;  // the largest batch of the warm-up
constexpr uint32_t kRowsRoundedTo = 16;

// The threads of all workers: who runs a batch while others idle has theirs as well.
class Threads {
 public:
  Threads(uint32_t workers, uint32_t each) : workers_(workers), each_(each) {}

  // For a batch that begins; what has begun keeps its threads.
  uint32_t begin() { return each_ * (workers_ - running_.fetch_add(1)); }
  void end() { --running_; }

 private:
  const uint32_t workers_;
  const uint32_t each_;
  std::atomic<uint32_t> running_ = 0;
};

class TextExecutor : public Executor {
 public:
  TextExecutor(std::shared_ptr<const TextModel> model, std::shared_ptr<Threads> threads)
      : model_(std::move(model)), threads_(std::move(threads)) {}

  void run(std::span<Request* const> batch) override {
    const struct Running {
      explicit Running(Threads& of) : threads(of), lent(of.begin()) {}
      ~Running() { threads.end(); }
      Threads& threads;
      const uint32_t lent;
    } running(*threads_);
    requests_.clear();
    for (Request* request : batch) requests_.push_back(static_cast<TextRequest*>(request));
    set_threads(running.lent);
    std::sort(requests_.begin(), requests_.end(), [](const TextRequest* a, const TextRequest* b) {
      return a->text.ids.size() < b->text.ids.size();  // on a card, texts of equal length share an attention
    });
    texts_.clear();
    for (const TextRequest* request : requests_) texts_.push_back(&request->text);
    std::vector<std::vector<float>> answers = model_->run(texts_);
    for (size_t i = 0; i < requests_.size(); ++i) requests_[i]->answer = std::move(answers[i]);
  }

 private:
  const std::shared_ptr<const TextModel> model_;
  const std::shared_ptr<Threads> threads_;
  std::vector<TextRequest*> requests_;
  std::vector<const TextTokens*> texts_;
};

void validate(const TextEngineConfig& config) {
  const auto require = [](bool in_range, const char* message) {
    if (!in_range) throw std::invalid_argument(message);
  };
  require(config.replicas >= 1 && config.replicas <= kMaxReplicas, "replicas must be 1 to 256");
  require(config.threads >= 1 && config.threads <= kMaxThreads, "threads must be 1 to 256");
  require(config.warm_up_tokens <= kMaxWarmUpTokens, "warm_up_tokens must be 0 to 65536");
  validate(config.limits, config.policy);
}

// The answer to one text of so many tokens. Throws ModelError.
std::vector<float> run_sample(const TextModel& model, uint32_t length) {
  const TextTokens text{TokenIds(length, static_cast<int32_t>(model.vocabulary() - 1)), length, 0, length};
  const TextTokens* const texts[] = {&text};
  try {
    return std::move(model.run(texts).at(0));
  } catch (const std::exception& error) {
    throw ModelError("the model fails on a text of " + std::to_string(length) + " tokens: " + reason(error));
  }
}

}  // namespace

TextEngine::TextEngine(const std::function<std::shared_ptr<const TextModel>(const TextEngineConfig&)>& load,
                       TextEngineConfig config) {
  validate(config);
  set_threads(config.threads);
  model_ = load(config);
  if (const auto positions = static_cast<uint32_t>(model_->max_positions()); positions > 0) {
    config.limits.max_tokens = std::min(config.limits.max_tokens, positions);
  }
  // The longest text of the warm-up, of the last token: weights that are damaged are found out now.
  const uint32_t longest = std::min(std::max(config.warm_up_tokens, 1u), config.limits.max_tokens);
  const std::vector<float> sample = run_sample(*model_, longest);
  if (!std::all_of(sample.begin(), sample.end(), [](float number) { return std::isfinite(number); })) {
    throw ModelError("the model gives numbers that are not finite; its weights may be damaged");
  }
  if (config.warm_up_tokens > 0 && model_->compiles_shapes()) {
    const uint32_t most = std::min(config.limits.max_tokens, std::min(config.policy.batch_tokens, kWarmUpTokens));
    for (uint32_t tokens = kRowsRoundedTo; tokens <= most; tokens += kRowsRoundedTo) run_sample(*model_, tokens);
  }
  config.policy.pads = model_->pads();
  if (model_->pads()) share_batches(config.policy, *model_, config.limits.max_tokens);
  queue_ = std::make_unique<Queue>(config.limits, config.policy, config.replicas);
  const auto threads = std::make_shared<Threads>(config.replicas, config.threads);
  std::vector<std::unique_ptr<Executor>> executors;
  for (uint32_t i = 0; i < config.replicas; ++i) executors.push_back(std::make_unique<TextExecutor>(model_, threads));
  workers_ = std::make_unique<Workers>(*queue_, std::move(executors));
}

Submission TextEngine::submit(TextTokens text, Lane lane, Nanoseconds deadline, void* tag, uint64_t flow) {
  const auto in_vocabulary = [this](int32_t id) { return id >= 0 && id < model_->vocabulary(); };
  if (text.ids.empty() || !std::all_of(text.ids.begin(), text.ids.end(), in_vocabulary)) {
    throw std::invalid_argument("token ids must lie in the vocabulary, and there must be one at least");
  }
  if (text.seen < 1 || text.seen > text.ids.size()) {
    throw std::invalid_argument("a text must see one of its tokens, and at most all");
  }
  auto request = std::make_unique<TextRequest>();
  request->tokens = static_cast<uint32_t>(text.ids.size());
  request->text = std::move(text);
  request->lane = lane;
  request->deadline = deadline;
  request->tag = tag;
  request->flow = flow;
  return queue_->submit(std::move(request));
}

bool TextEngine::wake() {
  queue_->wake();
  return false;
}

}  // namespace predictor
