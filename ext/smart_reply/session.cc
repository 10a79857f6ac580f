#include "smart_reply/session.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "smart_reply/text.h"
#include "tflite/strings.h"

namespace predictor::smart_reply {

namespace {

const tflite::Tensor& tensor_at(const tflite::Context& context, int index) {
  if (index < 0 || static_cast<size_t>(index) >= context.tensors_size) {
    throw std::invalid_argument("there is no tensor " + std::to_string(index));
  }
  return context.tensors[index];
}

void check_port(const tflite::Context& context, const Ports::Port& port, tflite::Type type) {
  const tflite::Tensor& tensor = tensor_at(context, port.index);
  if (!tensor.name || port.name != tensor.name) {  // says that the layout in tflite_abi.h is this library's
    throw std::invalid_argument("tensor " + std::to_string(port.index) + " is not named " + port.name);
  }
  if (tensor.type != type) throw std::invalid_argument("tensor " + port.name + " is of another type");
}

void check_constant(const tflite::Context& context, int index) {
  const tflite::Tensor& tensor = tensor_at(context, index);
  std::string fault;
  if (tensor.allocation != tflite::Allocation::kReadOnly || !tensor.data) {
    fault = "must be a constant";
  } else if (tensor.type == tflite::Type::kString) {
    fault = tflite::string_fault(tensor);
  }
  if (!fault.empty()) throw std::invalid_argument("tensor " + std::string(tensor.name) + " " + fault);
}

}  // namespace

Session::Session(tflite::Interpreter* interpreter, tflite::Context* context, Ports ports,
                 const std::vector<int>& constants)
    : interpreter_(interpreter), context_(context), ports_(std::move(ports)) {
  check_port(*context, ports_.message, tflite::Type::kString);
  check_port(*context, ports_.texts, tflite::Type::kString);
  check_port(*context, ports_.scores, tflite::Type::kFloat32);
  for (int index : constants) check_constant(*context, index);
}

Replies Session::replies(const std::vector<std::string_view>& messages) {
  std::lock_guard lock(mutex_);
  Scores scores;
  for (std::string_view message : messages) {
    for (const std::string& segment : segments(message)) add_replies(segment, scores);
  }
  Replies replies;
  replies.reserve(scores.size());
  for (const auto& [text, score] : scores) replies.push_back({text, score});
  std::sort(replies.begin(), replies.end(),
            [](const Reply& a, const Reply& b) { return a.score != b.score ? a.score > b.score : a.text < b.text; });
  return replies;
}

void Session::add_replies(std::string_view segment, Scores& scores) {
  if (!tflite::set_string(context_->tensors[ports_.message.index], segment)) throw std::bad_alloc();
  if (tflite::library().invoke(interpreter_) != tflite::Status::kOk) throw std::runtime_error("the graph failed");
  const tflite::Tensor& texts = context_->tensors[ports_.texts.index];
  const tflite::Tensor& weights = context_->tensors[ports_.scores.index];
  int count = tflite::string_count(texts);
  if (!weights.data || weights.bytes != static_cast<size_t>(count) * sizeof(float)) {
    throw std::runtime_error("the graph gives " + std::to_string(count) + " replies and another number of scores");
  }
  for (int i = 0; i < count; ++i) {
    std::string_view text = tflite::string_at(texts, i);
    if (!text.empty()) scores[std::string(text)] += weights.float_data[i];
  }
}

}  // namespace predictor::smart_reply
