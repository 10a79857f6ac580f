#include "smart_reply/reply_table.h"

#include <algorithm>
#include <bit>

namespace predictor::smart_reply {

namespace {

constexpr uint32_t kEmpty = UINT32_MAX;

}  // namespace

void Tally::clear(size_t most_labels) {
  slots_.assign(std::bit_ceil(2 * most_labels + 1), kEmpty);
  sums_.clear();
}

void Tally::add(int32_t label, float score) {
  const size_t mask = slots_.size() - 1;
  size_t slot = (static_cast<uint32_t>(label) * 0x9e3779b1u) & mask;
  while (slots_[slot] != kEmpty && sums_[slots_[slot]].label != label) slot = (slot + 1) & mask;
  if (slots_[slot] == kEmpty) {
    slots_[slot] = static_cast<uint32_t>(sums_.size());
    sums_.push_back({label, 0});
  }
  sums_[slots_[slot]].score += score;
}

void ReplyTable::find(std::span<const int32_t> signatures, Scratch& scratch) const {
  scratch.rows.clear();
  for (int32_t signature : signatures) {
    const auto found = std::lower_bound(keys.begin(), keys.end(), signature);
    if (found != keys.end() && *found == signature) {
      scratch.rows.push_back(static_cast<size_t>(found - keys.begin()));
    }
  }
  scratch.tally.clear(std::min(scratch.rows.size(), keys.size()) * width);
  const auto count = static_cast<float>(signatures.size());
  for (size_t row : scratch.rows) {
    for (size_t i = row * width; i < (row + 1) * width; ++i) scratch.tally.add(labels[i], weights[i] / count);
  }
  std::vector<LabelScore>& sums = scratch.tally.sums();
  std::erase_if(sums, [this](const LabelScore& sum) { return !(sum.score >= threshold); });
  const size_t kept = std::min(sums.size(), static_cast<size_t>(most_labels));
  std::partial_sort(sums.begin(), sums.begin() + static_cast<ptrdiff_t>(kept), sums.end(),
                    [](const LabelScore& a, const LabelScore& b) {
                      return a.score != b.score ? a.score > b.score : a.label < b.label;
                    });
  sums.resize(kept);
}

}  // namespace predictor::smart_reply
