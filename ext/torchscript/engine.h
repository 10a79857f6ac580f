// A TorchScript model with its queue and its workers: documents in, results out, no GIL anywhere.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "queue/collector.h"
#include "queue/inline_runner.h"
#include "queue/queue.h"
#include "queue/workers.h"
#include "text/document.h"
#include "text/scores.h"
#include "torchscript/model.h"

namespace predictor {

inline constexpr uint32_t kMaxInlineUs = 1'000'000;
inline constexpr uint32_t kMinTokenBytes = 16;  // an empty text is the token <pad>
inline constexpr uint32_t kMaxTextBytes = 1 << 24;

struct EngineConfig {
  uint32_t replicas = 1;               // batches that run at the same time
  uint32_t threads = 1;                // threads of libtorch within one batch
  uint32_t warm_up_tokens = 64;        // the longest document of the warm-up, or max_tokens if less; 0: no warm-up
  std::string device = "cpu";          // or cuda, cuda:N
  uint32_t inline_us = 200;            // a document that waits alone and takes no longer is run by the caller of wake()
  uint32_t max_token_bytes = 1 << 14;  // in one token; a model may go over its characters
  uint32_t max_message_bytes = 1 << 17;  // in one text, where the model takes it whole
  std::optional<bool> equal_lengths;     // whether only equal lengths share a batch; unset: a probe finds out
  QueueLimits limits;
  PolicyConfig policy;
};

struct PredictRequest : Request {
  Document document;
  std::shared_ptr<const ScoresForm> form;  // how scores are wanted, if they are all finite
  Result result;
  std::string written;  // in that form; empty where they are left as they are
};

class TorchScriptEngine {
 public:
  // Loads, probes and warms up; takes as long as that takes. Throws ModelError when the model cannot be served, and
  // std::invalid_argument, naming the setting, when one is out of range.
  TorchScriptEngine(const std::string& path, const EngineConfig& config);
  // Answers nobody any more, and waits for the running batches.
  ~TorchScriptEngine() = default;

  // Tokenises and submits.
  Submission submit(std::string_view text, Lane lane, Nanoseconds deadline, void* tag, uint64_t flow,
                    std::shared_ptr<const ScoresForm> form = nullptr);

  // Submits texts on the bulk lane, from the place `first` on, until the queue has no more room; gives the place of the
  // next one. Outcomes go to the collector, those of texts that are refused for good too. A text without data is none
  // (invalid Unicode). Wakes the workers.
  size_t submit_bulk(std::span<const std::string_view> texts, size_t first,
                     const std::shared_ptr<Collector>& collector);

  // See InlineRunner.
  bool wake();

  // What a text is told that is refused with too_many_bytes.
  std::string byte_limit() const;

  Queue& queue() { return *queue_; }
  const TorchScriptModel& model() const { return *model_; }
  // What a sample document was answered with; its labels, or the length of its vector.
  const Result& sample() const { return sample_; }

 private:
  // Null when the text or a token of it has too many bytes.
  std::unique_ptr<PredictRequest> make_request(std::string_view text, Lane lane, Nanoseconds deadline) const;
  bool is_quick(const Request& request) const;

  std::shared_ptr<TorchScriptModel> model_;  // the first worker runs it, the others run replicas
  const uint32_t max_token_bytes_;
  const uint32_t max_message_bytes_;
  Result sample_;
  uint32_t inline_tokens_ = 0;  // the longest document that is quick
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<InlineRunner> inline_runner_;
  std::unique_ptr<Workers> workers_;  // after the queue: it ends first
};

}  // namespace predictor
