// Text generation: a queue, and one thread that runs steps. Requests join and leave between two steps.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "architectures/gpt2_model.h"
#include "generator/generate_request.h"
#include "heads/sampling.h"
#include "queue/queue.h"
#include "text/generated_text.h"

namespace predictor {

inline constexpr uint32_t kMaxSlots = 256;

struct GeneratorConfig {
  uint32_t slots = 16;   // texts that grow at the same time
  uint32_t threads = 1;  // threads of libtorch within a step
  QueueLimits limits;
  PolicyConfig policy;  // lanes and hold; a "batch" of the queue is one request here
};

struct GeneratorStats {
  uint64_t steps = 0;          // passes over the texts that grow, one token for each
  uint64_t tokens = 0;         // generated
  uint64_t prompt_tokens = 0;  // read
  uint32_t busy_slots = 0;
  uint64_t left_at_step = 0;  // when a cancelled or expired text was last seen to free its slot
};

class GeneratorEngine {
 public:
  // Throws std::invalid_argument, naming the setting, when one is out of range.
  GeneratorEngine(std::unique_ptr<Gpt2Model> model, Vocabulary vocabulary, const GeneratorConfig& config);
  ~GeneratorEngine();

  // Throws std::invalid_argument for what the model cannot be asked for: tokens that are not in the vocabulary, or more
  // of them than there are positions.
  Submission submit(std::unique_ptr<GenerateRequest> request);
  bool wake();  // always false: nothing is run by the caller

  // What streamed texts have grown by since the last call. Those of a request come before its outcome, if the outcomes
  // are fetched first.
  std::vector<Progress> progress();

  Queue& queue() { return queue_; }
  const Gpt2Model& model() const { return *model_; }
  GeneratorStats stats() const;

 private:
  struct Sequence;  // a text that grows, in a slot

  void run();
  bool admit();
  void release_abandoned();
  void prefill();
  void decode();
  void sample(Sequence& sequence, std::span<float> logits);
  void append(Sequence& sequence, uint32_t token);
  void stream(Sequence& sequence);
  void finish(Sequence& sequence);
  void fail(const std::vector<Sequence*>& sequences, const char* message);
  void announce_progress();
  void remove_finished();

  const std::unique_ptr<Gpt2Model> model_;
  const Vocabulary vocabulary_;
  const uint32_t slots_;
  const uint32_t threads_;
  Queue queue_;
  Sampler sampler_;
  std::vector<std::unique_ptr<Sequence>> sequences_;  // in the order in which they came
  std::vector<uint32_t> free_slots_;

  mutable std::mutex mutex_;  // of what follows
  std::vector<Progress> progress_;
  GeneratorStats stats_;

  std::thread thread_;  // last: it uses all the others
};

}  // namespace predictor
