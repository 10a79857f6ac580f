// What is asked of a text generator, and what comes back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "generator/token_form.h"
#include "heads/sampling.h"
#include "heads/scores.h"
#include "queue/request.h"

namespace predictor {

// The contract's FinishReason.
enum class FinishReason : uint8_t { length = 1, stop = 2, end_of_text = 3, deadline = 5 };

// How likely tokens were, in the order of the text.
struct Scores {
  std::vector<TokenScore> prompt;  // of all its tokens but the first
  std::vector<TokenScore> generated;
};

struct GenerateRequest : Request {
  std::vector<uint32_t> prompt;  // tokens, at least one
  uint32_t max_tokens = 1;       // new ones; none only to score the prompt
  uint32_t min_tokens = 0;       // the text does not end before
  Sampling sampling;
  std::vector<std::string> stops;      // none empty
  std::vector<uint32_t> stop_tokens;   // they end the text too
  bool ignores_ends = false;           // the vocabulary's
  std::optional<uint32_t> top;         // score the new tokens, with so many alternatives each
  std::optional<uint32_t> prompt_top;  // the prompt's
  bool streamed = false;
  std::shared_ptr<TokenForm> form;  // that the text has; none: any

  std::vector<uint32_t> generated;
  std::string text;  // of a streamed request what came after its last Progress; so the scores
  Scores scores;
  FinishReason finish = FinishReason::length;
};

// What a streamed text has grown by.
struct Progress {
  uint64_t id;  // of the request
  std::string text;
  uint32_t token_count;  // so far
  Scores scores;
};

// What the model's tokens are.
struct Vocabulary {
  std::vector<std::string> bytes;  // of each token; empty for those that are not shown
  std::vector<bool> ends;          // which tokens end a text
};

}  // namespace predictor
