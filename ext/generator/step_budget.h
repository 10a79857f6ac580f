// How many tokens of prompts a step may read while other texts grow: as many as make it a few times as long as one that
// reads none. What a step takes is measured as it goes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "queue/request.h"

namespace predictor {

class StepBudget {
 public:
  // Where nobody waits for the next token: enough for the products to be efficient, few enough to notice who has left.
  static constexpr size_t kAlone = 512;

  // `decoding`: texts that grow.
  size_t prompt_tokens(size_t decoding) const {
    if (decoding == 0) return kAlone;
    const double token = token_ns_ > 0 ? token_ns_ : alone_ns_;
    if (step_ns_ == 0 || token == 0) return kLeast;
    const auto tokens = static_cast<size_t>(kLonger * step_ns_ / token);
    return std::clamp(tokens, kLeast, kAlone);
  }

  // A step that took `ns`.
  void measured(size_t decoding, size_t prompt_tokens, Nanoseconds ns) {
    const auto took = static_cast<double>(ns);
    if (prompt_tokens == 0) {
      update(step_ns_, took, kShare);
    } else if (decoding == 0) {
      if (prompt_tokens >= kLeast) update(alone_ns_, took / static_cast<double>(prompt_tokens), kShare);
    } else if (prompt_tokens >= kLeast) {
      const double token = std::max(took - step_ns_, 0.0) / static_cast<double>(prompt_tokens);
      update(token_ns_, token, token > token_ns_ ? kShareOfLonger : kShare);  // later tokens look at more
    }
  }

 private:
  static constexpr size_t kLeast = 4;
  static constexpr double kLonger = 1.5;  // the step takes 2.5 times as long as one without prompts; not all are alike
  static constexpr double kShare = 0.2;   // of the newest measurement
  static constexpr double kShareOfLonger = 0.5;

  static void update(double& average, double newest, double share) {
    average = average == 0 ? newest : (1 - share) * average + share * newest;
  }

  double step_ns_ = 0;   // of a step that reads no prompt
  double token_ns_ = 0;  // of a token of a prompt, beyond that, in small parts
  double alone_ns_ = 0;  // the same in large parts, beside no other text: less
};

}  // namespace predictor
