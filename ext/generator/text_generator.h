// Text generation: a queue, and one thread that runs steps. A step reads the last token of every text that grows, and
// as many tokens of new prompts as keep the others' pauses short. Requests join and leave between two steps.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "generator/form_reader.h"
#include "generator/generate_request.h"
#include "generator/generative_model.h"
#include "generator/page_pool.h"
#include "generator/step_budget.h"
#include "heads/sampling.h"
#include "heads/scores.h"
#include "queue/queue.h"

namespace predictor {

struct TextGeneratorConfig {
  uint32_t slots = 16;   // texts that grow at the same time
  uint32_t threads = 1;  // threads within a step
  QueueLimits limits;
  PolicyConfig policy;  // lanes and hold; a "batch" of the queue is one request here
};

struct TextGeneratorStats {
  uint64_t steps = 0;
  uint64_t tokens = 0;         // generated
  uint64_t prompt_tokens = 0;  // of prompts that were taken on
  uint64_t cached_tokens = 0;  // those of them whose keys and values were there already
  uint64_t put_back = 0;       // texts that had to wait again, since the cache was full
  uint32_t busy_slots = 0;
  uint32_t held_pages = 0;    // of the cache
  uint64_t left_at_step = 0;  // when a cancelled or expired text was last seen to free its slot
};

class TextGenerator {
 public:
  // Throws std::invalid_argument, naming the setting, when one is out of range.
  TextGenerator(std::unique_ptr<GenerativeModel> model, Vocabulary vocabulary, const TextGeneratorConfig& config);
  ~TextGenerator();

  // Throws std::invalid_argument for what the model cannot be asked for: tokens that are not in the vocabulary, or more
  // of them than there are positions. A text whose deadline passes ends with what there is of it; one that has no token
  // yet fails.
  Submission submit(std::unique_ptr<GenerateRequest> request);
  bool wake();  // always false: nothing is run by the caller

  // What streamed texts have grown by since the last call. Those of a request come before its outcome, if the outcomes
  // are fetched first.
  std::vector<Progress> progress();

  Queue& queue() { return queue_; }
  const GenerativeModel& model() const { return *model_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  TextGeneratorStats stats() const;

 private:
  struct Sequence;  // a text that grows
  struct Step;      // what one pass reads

  void run();
  bool admit();
  void take_on(std::unique_ptr<Sequence> sequence);
  void release_abandoned();
  void end_expired();
  Step plan();
  void add(Step& step, Sequence& sequence, size_t tokens);
  bool make_room(Sequence& sequence, size_t tokens);
  void put_back_youngest();
  void read(Step& step);
  void take_logits(Sequence& sequence, size_t place, std::span<float> logits);
  void sample(Sequence& sequence, std::span<float> logits);
  bool follow_form(Sequence& sequence);
  bool go_on_with_forms();
  void append(Sequence& sequence, uint32_t token);
  bool stops(Sequence& sequence, uint32_t token);
  void stream(Sequence& sequence);
  void finish(Sequence& sequence);
  void fail(Sequence& sequence, const char* message);
  void announce_progress();
  void remove_finished();

  const std::unique_ptr<GenerativeModel> model_;
  const Vocabulary vocabulary_;
  const std::vector<uint32_t> end_tokens_;
  const uint32_t slots_;
  const uint32_t threads_;
  Queue queue_;
  Sampler sampler_;
  Scorer scorer_;
  std::vector<float> given_;  // logits as the model gave them, kept for its memory
  FormReader forms_;
  PagePool pool_;
  StepBudget budget_;
  std::vector<std::unique_ptr<Sequence>> sequences_;  // those that may have pages, the oldest first
  std::deque<std::unique_ptr<Sequence>> waiting_;     // taken from the queue, or put back: without pages

  mutable std::mutex mutex_;  // of what follows
  std::vector<Progress> progress_;
  TextGeneratorStats stats_;

  std::thread thread_;  // last: it uses all the others
};

}  // namespace predictor
