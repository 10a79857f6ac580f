#include "generator/engine.h"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <utility>

namespace predictor {

namespace {

constexpr size_t kChunkBudget = 256;  // tokens of prompts that are read between two steps, about

GeneratorConfig checked(GeneratorConfig config) {
  if (config.slots < 1 || config.slots > kMostSlots) throw std::invalid_argument("slots must be 1 to 256");
  if (config.threads < 1 || config.threads > 256) throw std::invalid_argument("threads must be 1 to 256");
  config.policy.batch_items = 1;
  validate(config.limits, config.policy);
  return config;
}

}  // namespace

struct GeneratorEngine::Text {
  Text(Batch taken, uint32_t slot)
      : batch(std::move(taken)), request(static_cast<GenerateRequest&>(*batch[0])), slot(slot), grown(request.stops) {}

  bool reads_prompt() const { return read < request.prompt.size(); }

  Batch batch;  // of this request alone; the queue wants it back
  GenerateRequest& request;
  const uint32_t slot;
  size_t read = 0;    // tokens of the prompt that the model has read
  uint32_t next = 0;  // the token to be read next, when the prompt is
  GeneratedText grown;
  size_t reported = 0;         // bytes of it that were sent as progress
  std::vector<uint32_t> seen;  // for the repetition penalty: each token once
  bool done = false;
};

GeneratorEngine::GeneratorEngine(std::unique_ptr<Gpt2Model> model, Vocabulary vocabulary, const GeneratorConfig& config)
    : model_(std::move(model)),
      vocabulary_(std::move(vocabulary)),
      slots_(checked(config).slots),
      threads_(config.threads),
      queue_(config.limits, checked(config).policy, slots_) {
  if (vocabulary_.bytes.size() != model_->config().vocabulary || vocabulary_.ends.size() != vocabulary_.bytes.size()) {
    throw std::invalid_argument("the vocabulary is not of the model's size");
  }
  for (uint32_t slot = slots_; slot-- > 0;) free_slots_.push_back(slot);
  thread_ = std::thread([this] { run(); });
}

GeneratorEngine::~GeneratorEngine() {
  queue_.close();
  thread_.join();
}

Submission GeneratorEngine::submit(std::unique_ptr<GenerateRequest> request) {
  const Gpt2Config& config = model_->config();
  if (request->prompt.empty() || request->most_tokens < 1) throw std::invalid_argument("there is nothing to do");
  if (request->prompt.size() + request->most_tokens > config.context) {
    throw std::invalid_argument("more tokens than the model has positions");
  }
  for (const uint32_t token : request->prompt) {
    if (token >= config.vocabulary) throw std::invalid_argument("a token that is not in the vocabulary");
  }
  request->tokens = static_cast<uint32_t>(request->prompt.size()) + request->most_tokens;
  return queue_.submit(std::move(request));
}

bool GeneratorEngine::wake() {
  queue_.wake();
  return false;
}

std::vector<Progress> GeneratorEngine::progress() {
  std::lock_guard lock(mutex_);
  return std::exchange(progress_, {});
}

GeneratorStats GeneratorEngine::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void GeneratorEngine::run() {
  Gpt2Model::set_threads(static_cast<int>(threads_));
  for (;;) {
    queue_.sweep();
    release_abandoned();
    if (!admit()) return;
    read_prompts();
    step();
    remove_finished();
    announce_progress();
  }
}

// Gives free slots to those who wait; waits for someone when no text grows. False: the queue is closed.
bool GeneratorEngine::admit() {
  while (!free_slots_.empty()) {
    Batch batch = texts_.empty() ? queue_.take() : queue_.try_take();
    if (batch.empty()) {
      if (texts_.empty()) return false;
      break;
    }
    auto text = std::make_unique<Text>(std::move(batch), free_slots_.back());
    free_slots_.pop_back();
    if (text->request.sampling.repetition_penalty != 1) {
      text->seen = text->request.prompt;
      std::sort(text->seen.begin(), text->seen.end());
      text->seen.erase(std::unique(text->seen.begin(), text->seen.end()), text->seen.end());
    }
    texts_.push_back(std::move(text));
  }
  std::lock_guard lock(mutex_);
  stats_.busy_slots = static_cast<uint32_t>(texts_.size());
  return true;
}

void GeneratorEngine::release_abandoned() {
  bool any = false;
  for (auto& text : texts_) {
    if (!text->request.abandoned) continue;
    text->done = any = true;
  }
  if (!any) return;
  remove_finished();
  std::lock_guard lock(mutex_);
  stats_.left_at_step = stats_.steps;
}

// Reads the prompts of those who joined, oldest first, each in chunks of its own, so that the others do not matter.
void GeneratorEngine::read_prompts() {
  size_t budget = kChunkBudget;
  std::vector<Gpt2Model::Row> rows;
  for (auto& text : texts_) {
    while (text->reads_prompt() && !text->done && budget > 0) {
      const std::vector<uint32_t>& prompt = text->request.prompt;
      const size_t end = std::min(text->read + kPromptChunk, prompt.size());
      rows.clear();
      for (size_t i = text->read; i < end; ++i) rows.push_back({text->slot, static_cast<uint32_t>(i), prompt[i]});
      budget -= std::min(budget, rows.size());
      const uint32_t last = static_cast<uint32_t>(rows.size()) - 1;
      const bool complete = end == prompt.size();
      try {
        const auto logits = model_->read(rows, {&last, complete ? 1u : 0u});
        text->read = end;
        if (complete) take_token(*text, logits);
      } catch (const std::exception& error) {
        fail({text.get()}, error.what());
      }
      std::lock_guard lock(mutex_);
      stats_.prompt_tokens += rows.size();
    }
    if (budget == 0) break;
  }
}

// One more token for every text whose prompt is read.
void GeneratorEngine::step() {
  std::vector<Text*> growing;
  std::vector<Gpt2Model::Row> rows;
  std::vector<uint32_t> wanted;
  for (auto& text : texts_) {
    if (text->reads_prompt() || text->done) continue;
    const size_t position = text->request.prompt.size() + text->request.generated.size() - 1;
    wanted.push_back(static_cast<uint32_t>(rows.size()));
    rows.push_back({text->slot, static_cast<uint32_t>(position), text->next});
    growing.push_back(text.get());
  }
  if (growing.empty()) return;
  try {
    const std::span<float> logits = model_->read(rows, wanted);
    const size_t vocabulary = model_->config().vocabulary;
    for (size_t i = 0; i < growing.size(); ++i) {
      try {
        take_token(*growing[i], logits.subspan(i * vocabulary, vocabulary));
      } catch (const std::exception& error) {
        fail({growing[i]}, error.what());
      }
    }
  } catch (const std::exception& error) {
    fail(growing, error.what());
  }
  std::lock_guard lock(mutex_);
  ++stats_.steps;
}

void GeneratorEngine::take_token(Text& text, std::span<float> logits) {
  const GenerateRequest& request = text.request;
  grow(text, sampler_.choose(logits, request.sampling, text.seen, request.generated.size()));
  std::lock_guard lock(mutex_);
  ++stats_.tokens;
}

void GeneratorEngine::grow(Text& text, uint32_t token) {
  GenerateRequest& request = text.request;
  request.generated.push_back(token);
  text.next = token;
  const bool ends = vocabulary_.ends[token];
  const bool stopped = !ends && text.grown.append(vocabulary_.bytes[token]);
  if (ends || stopped || request.generated.size() == request.most_tokens) {
    request.finish = ends ? Finish::end_of_text : stopped ? Finish::stop : Finish::length;
    finish(text);
    return;
  }
  if (request.sampling.repetition_penalty != 1 &&
      std::find(text.seen.begin(), text.seen.end(), token) == text.seen.end()) {
    text.seen.push_back(token);
  }
  if (request.streamed) report(text);
}

void GeneratorEngine::report(Text& text) {
  const size_t sure = text.grown.sure();
  std::string more = text.grown.bytes().substr(text.reported, sure - text.reported);
  text.reported = sure;
  std::lock_guard lock(mutex_);
  progress_.push_back({text.request.id, std::move(more), static_cast<uint32_t>(text.request.generated.size())});
}

void GeneratorEngine::finish(Text& text) {
  text.grown.end();
  const std::string& bytes = text.grown.bytes();
  text.request.text = bytes.substr(std::min(text.reported, bytes.size()));
  text.done = true;
}

void GeneratorEngine::fail(const std::vector<Text*>& texts, const char* message) {
  for (Text* text : texts) {
    text->request.status = Status::internal;
    text->request.message = message;
    text->done = true;
  }
}

// Wakes the event loop once for all that streamed texts have grown by.
void GeneratorEngine::announce_progress() {
  {
    std::lock_guard lock(mutex_);
    if (progress_.empty()) return;
  }
  queue_.announce_more();
}

// Hands finished texts back and frees their slots; first the count, which who is answered may ask for.
void GeneratorEngine::remove_finished() {
  std::vector<Batch> finished;
  for (auto& text : texts_) {
    if (!text->done) continue;
    free_slots_.push_back(text->slot);
    finished.push_back(std::move(text->batch));
  }
  std::erase_if(texts_, [](const auto& text) { return text->done; });
  {
    std::lock_guard lock(mutex_);
    stats_.busy_slots = static_cast<uint32_t>(texts_.size());
  }
  for (Batch& batch : finished) queue_.finish(std::move(batch));
}

}  // namespace predictor
