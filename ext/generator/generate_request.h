// What is asked of a text generator, and what comes back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heads/sampling.h"
#include "queue/request.h"

namespace predictor {

// The contract's FinishReason.
enum class FinishReason : uint8_t { length = 1, stop = 2, end_of_text = 3 };

struct GenerateRequest : Request {
  std::vector<uint32_t> prompt;  // tokens, at least one
  uint32_t max_tokens = 1;       // new ones
  Sampling sampling;
  std::vector<std::string> stops;  // none empty
  bool streamed = false;

  std::vector<uint32_t> generated;
  std::string text;  // of a streamed request what came after its last Progress
  FinishReason finish = FinishReason::length;
};

// What a streamed text has grown by.
struct Progress {
  uint64_t id;  // of the request
  std::string text;
  uint32_t token_count;  // so far
};

// What the model's tokens are.
struct Vocabulary {
  std::vector<std::string> bytes;  // of each token; empty for those that are not shown
  std::vector<bool> ends;          // which tokens end a text
};

}  // namespace predictor
