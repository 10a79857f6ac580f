// How many tokens of prompts a step may read while other texts grow: as many as make it a few times as long as one that
// reads none. What a step takes is measured as it goes.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "queue/request.h"

namespace predictor {

class StepBudget {
 public:
  // Where nobody waits for the next token: enough for the products to be efficient, few enough to notice who has left.
  static constexpr size_t kAlone = 512;

  // `decoding`: texts that grow. 0: the step reads no prompt, so that what it takes for so many texts is known.
  size_t prompt_tokens(size_t decoding) const {
    if (decoding == 0) return kAlone;
    const double step = step_ns_[size_of(decoding)].value;
    if (step == 0) return 0;
    const size_t most = std::min(kAlone, kGrowth * tried_);
    if (token_ns_.value == 0) return most;
    return static_cast<size_t>(std::clamp(kLonger * step / token_ns_.value, double{kLeast}, static_cast<double>(most)));
  }

  // A step that took `ns`.
  void measured(size_t decoding, size_t prompt_tokens, Nanoseconds ns) {
    if (decoding == 0) return;  // a token takes less in large parts
    const auto took = static_cast<double>(ns);
    Average& step = step_ns_[size_of(decoding)];
    if (prompt_tokens == 0 || took < step.value) step.update(took, kShareOfShorter, kShareOfHeldUp);
    if (prompt_tokens < kLeast || step.value == 0) return;  // too few to tell
    tried_ = std::max(tried_, prompt_tokens);
    const double token = std::max(took - step.value, kShortest * step.value) / static_cast<double>(prompt_tokens);
    token_ns_.update(token, kShareOfShorter, kShareOfLonger);  // later tokens look at more
  }

 private:
  static constexpr size_t kLeast = 4;
  static constexpr size_t kGrowth = 2;    // times as many tokens as any step has read: what more take is not known
  static constexpr double kLonger = 1.5;  // the step takes 2.5 times as long as one without prompts; not all are alike
  static constexpr double kShortest = 0.15;  // the same at least, where it seems to take no time
  // Of the newest measurement in an average. What makes a step longer for a while is more often something else on the
  // machine than the texts.
  static constexpr double kShareOfShorter = 0.2;
  static constexpr double kShareOfLonger = 0.5;
  static constexpr double kShareOfHeldUp = 0.05;

  // Follows measurements, of which some are far off.
  struct Average {
    static constexpr double kFar = 2;

    double value = 0;

    void update(double newest, double share_of_shorter, double share_of_longer) {
      if (value == 0) {
        value = newest;
      } else {
        const double share = newest < value ? share_of_shorter : share_of_longer;
        value += share * (std::clamp(newest, value / kFar, value * kFar) - value);
      }
    }
  };

  // 1, 2 and 3, 4 to 7, ... texts, which take about as long.
  static size_t size_of(size_t decoding) { return static_cast<size_t>(std::bit_width(decoding)); }

  std::array<Average, 65> step_ns_;  // of a step that reads no prompt, by the texts that grow
  Average token_ns_;                 // of a token of a prompt, beyond that
  size_t tried_ = kLeast;            // tokens of prompts that a step beside texts has read, at most
};

}  // namespace predictor
