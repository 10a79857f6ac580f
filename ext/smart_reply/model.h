// Messages to replies, by a graph that was read from a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "smart_reply/graph.h"

namespace predictor::smart_reply {

struct Reply {
  std::string_view text;  // lives as long as the model
  float score;
};

// Best first, equals by text.
using Replies = std::vector<Reply>;

// Read-only: any number of threads may ask it at a time, each with a scratch of its own.
class Model {
 public:
  struct Scratch {
    Projection::Scratch projection;
    ReplyTable::Scratch table;
    Tally replies;
  };

  // Throws ModelError.
  explicit Model(tflite::ModelFile file);

  // Replies to all messages together: scores of the same reply add up over all segments, in single precision and in
  // order, as in the operators' own demonstration program. Empty replies count for nothing.
  Replies replies(std::span<const std::string> messages, Scratch& scratch) const;

  const Graph& graph() const { return graph_; }

 private:
  void add_replies(std::string_view segment, Scratch& scratch) const;
  void add_reply(const LabelScore& found, Tally& replies) const;

  const tflite::ModelFile file_;
  const Graph graph_;
  const Projection projection_;
  std::vector<int32_t> first_alike_;  // for each response the first with the same text; -1 for an empty one
};

}  // namespace predictor::smart_reply
