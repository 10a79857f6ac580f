// The last two operators of the graph, which are its model: from signatures to the labels of replies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace predictor::smart_reply {

inline constexpr int kMaxLabels = 10'000;

struct LabelScore {
  int32_t label;
  float score;
};

// Sums scores by label, in the order of their coming: open addressing, with one slot in two empty at least.
class Tally {
 public:
  // Forgets what it holds, and makes room for so many different labels.
  void clear(size_t most_labels);
  void add(int32_t label, float score);
  std::vector<LabelScore>& sums() { return sums_; }

 private:
  std::vector<uint32_t> slots_;  // positions in sums_
  std::vector<LabelScore> sums_;
};

// Predict: every signature found among the keys adds weight / number of signatures to each of its labels; the
// heaviest labels come out, heaviest first and equals by label, as far as they reach the threshold.
struct ReplyTable {
  struct Scratch {
    std::vector<size_t> rows;
    Tally tally;
  };

  std::span<const int32_t> keys;    // sorted
  std::span<const int32_t> labels;  // [keys, width]
  std::span<const float> weights;   // the same
  size_t width = 0;
  int32_t most_labels = 0;  // 1 to kMaxLabels
  float threshold = 0;

  // Leaves the labels in the scratch's tally.
  void find(std::span<const int32_t> signatures, Scratch& scratch) const;
};

}  // namespace predictor::smart_reply
