#include "tflite_model_file.h"

#include <cstdio>
#include <cstring>
#include <vector>

#include "tflite_library.h"

namespace predictor::tflite {

namespace {

class Messages : public ErrorReporter {
 public:
  int Report(const char* format, va_list arguments) override {
    char line[512];
    int length = std::vsnprintf(line, sizeof(line), format, arguments);
    if (!text_.empty()) text_ += "; ";
    text_ += line;
    return length;
  }

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// A table of a verified flatbuffer (https://flatbuffers.dev/internals): it begins with the distance back to its vtable,
// which gives, from its fifth byte on, each field's place in the table, 0 for a field that is absent.
class Table {
 public:
  explicit Table(const char* at) : at_(at) {}
  static Table root(std::string_view bytes) { return Table(bytes.data() + read<uint32_t>(bytes.data())); }

  bool has(int field) const { return place(field) != 0; }

  std::vector<Table> tables(int field) const {
    std::vector<Table> found;
    const char* offset = at_ + place(field);
    const char* vector = offset + read<uint32_t>(offset);
    uint32_t count = read<uint32_t>(vector);
    for (uint32_t i = 1; i <= count; ++i) {
      const char* element = vector + i * sizeof(uint32_t);
      found.emplace_back(element + read<uint32_t>(element));
    }
    return found;
  }

 private:
  template <typename Number>
  static Number read(const char* at) {
    Number number;
    std::memcpy(&number, at, sizeof(number));
    return number;
  }

  uint16_t place(int field) const {
    const char* vtable = at_ - read<int32_t>(at_);
    size_t entry = 4 + 2 * static_cast<size_t>(field);
    return entry < read<uint16_t>(vtable) ? read<uint16_t>(vtable + entry) : 0;
  }

  const char* at_;
};

// Fields by their number in the schema.
enum ModelField { kOperatorCodes = 1, kSubgraphs = 2, kBuffers = 4 };
enum SubgraphField { kTensors = 0, kInputs = 1, kOutputs = 2, kOperators = 3 };
enum OperatorField { kOperatorInputs = 1, kOperatorOutputs = 2 };

std::string absence_in(const Table& model) {
  if (!model.has(kOperatorCodes) || !model.has(kSubgraphs) || !model.has(kBuffers)) {
    return "the model lacks its operator codes, its subgraphs or its buffers";
  }
  for (const Table& subgraph : model.tables(kSubgraphs)) {
    for (int field : {kTensors, kInputs, kOutputs, kOperators}) {
      if (!subgraph.has(field)) return "a subgraph lacks its tensors, inputs, outputs or operators";
    }
    for (const Table& node : subgraph.tables(kOperators)) {
      if (!node.has(kOperatorInputs) || !node.has(kOperatorOutputs)) return "an operator lacks its inputs or outputs";
    }
  }
  return {};
}

}  // namespace

std::string model_fault(std::string_view bytes) {
  Messages messages;
  if (!library().verify_and_build(bytes.data(), bytes.size(), nullptr, &messages)) {
    return messages.text().empty() ? "not a TensorFlow Lite model" : messages.text();
  }
  return absence_in(Table::root(bytes));
}

}  // namespace predictor::tflite
