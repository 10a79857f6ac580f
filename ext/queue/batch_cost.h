// How long batches take, learned from those that ran.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "queue/request.h"

namespace predictor {

// The time of a batch as a line over its tokens, by least squares over the last some hundred.
class BatchCost {
 public:
  void ran(uint64_t batch_tokens, Nanoseconds took) {
    const auto tokens = static_cast<double>(batch_tokens);
    const auto time = static_cast<double>(std::max<Nanoseconds>(took, 0));
    for (double* sum : {&count_, &tokens_, &time_, &squares_, &products_}) *sum *= kKept;
    count_ += 1;
    tokens_ += tokens;
    time_ += time;
    squares_ += tokens * tokens;
    products_ += tokens * time;
  }

  // Whether enough ran, and took any time.
  bool is_known() const { return count_ > kLeastBatches && time_ > 0; }

  // What a batch takes whatever is in it, in tokens: as many take as long. Infinity where it takes no longer for more;
  // 0 where all had the same size, which does not tell.
  double fixed_tokens() const {
    const double spread = count_ * squares_ - tokens_ * tokens_;
    if (spread <= kLeastSpread * tokens_ * tokens_) return 0;
    const double of_a_token = (count_ * products_ - tokens_ * time_) / spread;
    if (of_a_token <= 0) return std::numeric_limits<double>::infinity();
    return std::max(0.0, (time_ / of_a_token - tokens_) / count_);
  }

 private:
  static constexpr double kKept = 1 - 1.0 / 256;
  static constexpr double kLeastBatches = 16;
  static constexpr double kLeastSpread = 1e-3;

  // Sums in which each batch counts for a little less than the one after it.
  double count_ = 0;
  double tokens_ = 0;
  double time_ = 0;
  double squares_ = 0;   // of tokens
  double products_ = 0;  // of tokens and time
};

}  // namespace predictor
