#include "generator/engine.h"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <utility>

#include "transformer/threads.h"

namespace predictor {

namespace {

constexpr size_t kPrefillBudget = 256;  // tokens of prompts that are read between two steps, about

GeneratorConfig checked(GeneratorConfig config) {
  if (config.slots < 1 || config.slots > kMaxSlots) throw std::invalid_argument("slots must be 1 to 256");
  if (config.threads < 1 || config.threads > kMaxThreads) throw std::invalid_argument("threads must be 1 to 256");
  config.policy.batch_items = 1;
  validate(config.limits, config.policy);
  return config;
}

}  // namespace

struct GeneratorEngine::Sequence {
  Sequence(Batch taken, uint32_t slot)
      : batch(std::move(taken)), request(static_cast<GenerateRequest&>(*batch[0])), slot(slot), text(request.stops) {}

  bool in_prefill() const { return read < request.prompt.size(); }

  Batch batch;  // of this request alone; goes back to the queue
  GenerateRequest& request;
  const uint32_t slot;
  size_t read = 0;    // tokens of the prompt that the model has read
  uint32_t next = 0;  // the token to be read next, when the prompt is
  GeneratedText text;
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
  if (request->prompt.empty() || request->max_tokens < 1) throw std::invalid_argument("there is nothing to do");
  if (request->prompt.size() + request->max_tokens > config.context) {
    throw std::invalid_argument("more tokens than the model has positions");
  }
  for (const uint32_t token : request->prompt) {
    if (token >= config.vocabulary) throw std::invalid_argument("a token that is not in the vocabulary");
  }
  request->tokens = static_cast<uint32_t>(request->prompt.size()) + request->max_tokens;
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
  set_threads(threads_);
  for (;;) {
    queue_.sweep();
    release_abandoned();
    if (!admit()) return;
    prefill();
    decode();
    remove_finished();
    announce_progress();
  }
}

// Gives free slots to those who wait; waits for someone when no text grows. False: the queue is closed.
bool GeneratorEngine::admit() {
  while (!free_slots_.empty()) {
    Batch batch = sequences_.empty() ? queue_.take() : queue_.try_take();
    if (batch.empty()) {
      if (sequences_.empty()) return false;
      break;
    }
    auto sequence = std::make_unique<Sequence>(std::move(batch), free_slots_.back());
    free_slots_.pop_back();
    if (sequence->request.sampling.repetition_penalty != 1) {
      sequence->seen = sequence->request.prompt;
      std::sort(sequence->seen.begin(), sequence->seen.end());
      sequence->seen.erase(std::unique(sequence->seen.begin(), sequence->seen.end()), sequence->seen.end());
    }
    sequences_.push_back(std::move(sequence));
  }
  std::lock_guard lock(mutex_);
  stats_.busy_slots = static_cast<uint32_t>(sequences_.size());
  return true;
}

void GeneratorEngine::release_abandoned() {
  bool any = false;
  for (auto& sequence : sequences_) {
    if (!sequence->request.abandoned) continue;
    sequence->done = any = true;
  }
  if (!any) return;
  remove_finished();
  std::lock_guard lock(mutex_);
  stats_.left_at_step = stats_.steps;
}

// Reads the prompts of those who joined, oldest first, each in chunks of its own, so that the others do not matter.
void GeneratorEngine::prefill() {
  size_t budget = kPrefillBudget;
  std::vector<Gpt2Model::Row> rows;
  for (auto& sequence : sequences_) {
    while (sequence->in_prefill() && !sequence->done && budget > 0) {
      const std::vector<uint32_t>& prompt = sequence->request.prompt;
      const size_t end = std::min(sequence->read + kPrefillChunk, prompt.size());
      rows.clear();
      for (size_t i = sequence->read; i < end; ++i)
        rows.push_back({sequence->slot, static_cast<uint32_t>(i), prompt[i]});
      budget -= std::min(budget, rows.size());
      const uint32_t last = static_cast<uint32_t>(rows.size()) - 1;
      const bool complete = end == prompt.size();
      try {
        const auto logits = model_->forward(rows, {&last, complete ? 1u : 0u});
        sequence->read = end;
        if (complete) sample(*sequence, logits);
      } catch (const std::exception& error) {
        fail({sequence.get()}, error.what());
      }
      std::lock_guard lock(mutex_);
      stats_.prompt_tokens += rows.size();
    }
    if (budget == 0) break;
  }
}

// One more token for every text whose prompt is read.
void GeneratorEngine::decode() {
  std::vector<Sequence*> decoding;
  std::vector<Gpt2Model::Row> rows;
  std::vector<uint32_t> logit_rows;
  for (auto& sequence : sequences_) {
    if (sequence->in_prefill() || sequence->done) continue;
    const size_t position = sequence->request.prompt.size() + sequence->request.generated.size() - 1;
    logit_rows.push_back(static_cast<uint32_t>(rows.size()));
    rows.push_back({sequence->slot, static_cast<uint32_t>(position), sequence->next});
    decoding.push_back(sequence.get());
  }
  if (decoding.empty()) return;
  try {
    const std::span<float> logits = model_->forward(rows, logit_rows);
    const size_t vocabulary = model_->config().vocabulary;
    for (size_t i = 0; i < decoding.size(); ++i) {
      try {
        sample(*decoding[i], logits.subspan(i * vocabulary, vocabulary));
      } catch (const std::exception& error) {
        fail({decoding[i]}, error.what());
      }
    }
  } catch (const std::exception& error) {
    fail(decoding, error.what());
  }
  std::lock_guard lock(mutex_);
  ++stats_.steps;
}

void GeneratorEngine::sample(Sequence& sequence, std::span<float> logits) {
  const GenerateRequest& request = sequence.request;
  append(sequence, sampler_.choose(logits, request.sampling, sequence.seen, request.generated.size()));
  std::lock_guard lock(mutex_);
  ++stats_.tokens;
}

void GeneratorEngine::append(Sequence& sequence, uint32_t token) {
  GenerateRequest& request = sequence.request;
  request.generated.push_back(token);
  sequence.next = token;
  const bool ends = vocabulary_.ends[token];
  const bool stopped = !ends && sequence.text.append(vocabulary_.bytes[token]);
  if (ends || stopped || request.generated.size() == request.max_tokens) {
    request.finish = ends ? FinishReason::end_of_text : stopped ? FinishReason::stop : FinishReason::length;
    finish(sequence);
    return;
  }
  if (request.sampling.repetition_penalty != 1 &&
      std::find(sequence.seen.begin(), sequence.seen.end(), token) == sequence.seen.end()) {
    sequence.seen.push_back(token);
  }
  if (request.streamed) stream(sequence);
}

void GeneratorEngine::stream(Sequence& sequence) {
  const size_t sure = sequence.text.sure();
  std::string more = sequence.text.bytes().substr(sequence.reported, sure - sequence.reported);
  sequence.reported = sure;
  std::lock_guard lock(mutex_);
  progress_.push_back({sequence.request.id, std::move(more), static_cast<uint32_t>(sequence.request.generated.size())});
}

void GeneratorEngine::finish(Sequence& sequence) {
  sequence.text.end();
  const std::string& bytes = sequence.text.bytes();
  sequence.request.text = bytes.substr(std::min(sequence.reported, bytes.size()));
  sequence.done = true;
}

void GeneratorEngine::fail(const std::vector<Sequence*>& sequences, const char* message) {
  for (Sequence* sequence : sequences) {
    sequence->request.status = Status::internal;
    sequence->request.message = message;
    sequence->done = true;
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
  for (auto& sequence : sequences_) {
    if (!sequence->done) continue;
    free_slots_.push_back(sequence->slot);
    finished.push_back(std::move(sequence->batch));
  }
  std::erase_if(sequences_, [](const auto& sequence) { return sequence->done; });
  {
    std::lock_guard lock(mutex_);
    stats_.busy_slots = static_cast<uint32_t>(sequences_.size());
  }
  for (Batch& batch : finished) queue_.finish(std::move(batch));
}

}  // namespace predictor
