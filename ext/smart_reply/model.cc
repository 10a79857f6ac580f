#include "smart_reply/model.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "smart_reply/text.h"

namespace predictor::smart_reply {

namespace {

constexpr int32_t kNoLabel = -1;  // what Predict puts in the place of labels that are missing
constexpr size_t kNowhere = SIZE_MAX;

size_t position_of(int32_t id, std::span<const int32_t> ids) {
  const auto at = static_cast<size_t>(static_cast<uint32_t>(id));
  if (at < ids.size() && ids[at] == id) return at;  // ids from 0 on, as they usually are
  const auto found = std::lower_bound(ids.begin(), ids.end(), id);
  return found != ids.end() && *found == id ? static_cast<size_t>(found - ids.begin()) : kNowhere;
}

}  // namespace

Model::Model(tflite::ModelFile file)
    : file_(std::move(file)), graph_(read_graph(file_)), projection_(graph_.skip_gram, graph_.seeds) {
  std::unordered_map<std::string_view, int32_t> first;
  for (std::string_view text : graph_.responses) {
    const auto number = static_cast<int32_t>(first_alike_.size());
    first_alike_.push_back(text.empty() ? -1 : first.try_emplace(text, number).first->second);
  }
}

Replies Model::replies(std::span<const std::string> messages, Scratch& scratch) const {
  std::vector<std::string> all;
  for (const std::string& message : messages) {
    std::vector<std::string> cut = segments(message);
    std::move(cut.begin(), cut.end(), std::back_inserter(all));
  }
  const size_t most = all.size() * static_cast<size_t>(graph_.table.most_labels);
  scratch.replies.clear(std::min(most, graph_.responses.size()));
  for (const std::string& segment : all) add_replies(segment, scratch);
  Replies replies;
  replies.reserve(scratch.replies.sums().size());
  for (const LabelScore& sum : scratch.replies.sums()) {
    // Infinities of a strange model, added up, are no number.
    if (!std::isnan(sum.score)) replies.push_back({graph_.responses[static_cast<size_t>(sum.label)], sum.score});
  }
  std::sort(replies.begin(), replies.end(),
            [](const Reply& a, const Reply& b) { return a.score != b.score ? a.score > b.score : a.text < b.text; });
  return replies;
}

void Model::add_replies(std::string_view segment, Scratch& scratch) const {
  projection_.project(segment, scratch.projection);
  graph_.table.find(scratch.projection.signatures, scratch.table);
  const std::vector<LabelScore>& found = scratch.table.tally.sums();
  for (const LabelScore& each : found) add_reply(each, scratch.replies);
  if (found.size() < static_cast<size_t>(graph_.table.most_labels)) add_reply({kNoLabel, 0}, scratch.replies);
}

// HASHTABLE_LOOKUP, whose text of an unknown label is empty.
void Model::add_reply(const LabelScore& found, Tally& replies) const {
  const size_t position = position_of(found.label, graph_.response_ids);
  if (position == kNowhere) return;
  const int32_t reply = first_alike_[position];
  if (reply >= 0) replies.add(reply, found.score);
}

}  // namespace predictor::smart_reply
