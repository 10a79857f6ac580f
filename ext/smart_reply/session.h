// Messages through one interpreter, without Python.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tflite/library.h"

namespace predictor::smart_reply {

struct Reply {
  std::string text;
  float score;
};

// Best first, equals by text.
using Replies = std::vector<Reply>;

// Where a graph takes its message and gives its replies: indices of tensors, with the names that they must have.
struct Ports {
  struct Port {
    int index;
    std::string name;
  };
  Port message;  // one string
  Port texts;    // string[k]; empty texts count for nothing
  Port scores;   // float[k]
};

// One interpreter, whose tensors have been allocated once. Calls from several threads take turns.
class Session {
 public:
  // Throws std::invalid_argument when the graph has no such ports, when one of the tensors `constants` has no content
  // of its own, or when it is a broken table of strings: the runtime checks neither.
  Session(tflite::Interpreter* interpreter, tflite::Context* context, Ports ports, const std::vector<int>& constants);

  // Replies to all messages together: scores of the same reply add up over all segments, in single precision and in
  // order, as in the operators' own demonstration program. Throws std::runtime_error when the graph fails.
  Replies replies(const std::vector<std::string_view>& messages);

 private:
  using Scores = std::unordered_map<std::string, float>;

  void add_replies(std::string_view segment, Scores& scores);

  std::mutex mutex_;
  tflite::Interpreter* interpreter_;
  tflite::Context* context_;
  Ports ports_;
};

}  // namespace predictor::smart_reply
