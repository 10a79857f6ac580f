// Latency histogram: logarithmic buckets with linear sub-buckets, the layout of HdrHistogram (hdrhistogram.org), here
// 128 of them for every power of two, so that a quantile is off by 0.4 % at most.

#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace loadgen {

class Histogram {
 public:
  void record(int64_t nanoseconds) {
    const auto value = static_cast<uint64_t>(std::max<int64_t>(nanoseconds, 0));
    ++counts_[index_of(value)];
    ++total_;
    max_ = std::max(max_, value);
  }

  // Microseconds that the share `quantile` of all values does not exceed; 0 without values.
  double quantile_us(double quantile) const {
    if (total_ == 0) return 0;
    auto left = static_cast<uint64_t>(std::ceil(quantile * static_cast<double>(total_)));
    left = std::clamp<uint64_t>(left, 1, total_);
    for (std::size_t index = 0; index < counts_.size(); ++index) {
      if (counts_[index] >= left) return std::min(middle_of(index), static_cast<double>(max_)) / 1e3;
      left -= counts_[index];
    }
    return max_us();
  }

  double max_us() const { return static_cast<double>(max_) / 1e3; }

 private:
  static constexpr int kSubBits = 7;  // 128 sub-buckets for every power of two
  static constexpr uint64_t kSubBuckets = 1U << kSubBits;

  static std::size_t index_of(uint64_t value) {
    if (value < 2 * kSubBuckets) return value;
    const int shift = std::bit_width(value) - kSubBits - 1;
    return static_cast<std::size_t>(shift) * kSubBuckets + (value >> shift);
  }

  static double middle_of(std::size_t index) {
    if (index < 2 * kSubBuckets) return static_cast<double>(index);
    const auto shift = static_cast<int>(index / kSubBuckets) - 1;
    const double low = std::ldexp(static_cast<double>(index % kSubBuckets + kSubBuckets), shift);
    return low + std::ldexp(0.5, shift);
  }

  std::vector<uint64_t> counts_ = std::vector<uint64_t>((64 - kSubBits + 1) * kSubBuckets);
  uint64_t total_ = 0;
  uint64_t max_ = 0;
};

}  // namespace loadgen
