#include "tflite/model_file.h"

#include <cstdio>
#include <cstring>
#include <set>
#include <vector>

#include "tflite/library.h"
#include "tflite/strings.h"

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
    for (const char* element : elements(field)) found.emplace_back(element + read<uint32_t>(element));
    return found;
  }

  std::vector<int32_t> indices(int field) const {
    std::vector<int32_t> found;
    for (const char* element : elements(field)) found.push_back(read<int32_t>(element));
    return found;
  }

  // Of a vector of bytes; empty when the field is absent.
  std::string_view bytes(int field) const {
    if (!has(field)) return {};
    const char* offset = at_ + place(field);
    const char* vector = offset + read<uint32_t>(offset);
    return {vector + sizeof(uint32_t), read<uint32_t>(vector)};
  }

  // A field that is absent is 0.
  template <typename Number>
  Number number(int field) const {
    return has(field) ? read<Number>(at_ + place(field)) : Number{0};
  }

 private:
  template <typename Number>
  static Number read(const char* at) {
    Number number;
    std::memcpy(&number, at, sizeof(number));
    return number;
  }

  // Of a vector of four-byte elements.
  std::vector<const char*> elements(int field) const {
    const char* offset = at_ + place(field);
    const char* vector = offset + read<uint32_t>(offset);
    std::vector<const char*> found(read<uint32_t>(vector));
    for (size_t i = 0; i < found.size(); ++i) found[i] = vector + (i + 1) * sizeof(uint32_t);
    return found;
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
enum TensorField { kShape = 0, kType = 1, kBuffer = 2, kIsVariable = 5 };
constexpr int8_t kStringType = 5;  // of the schema's TensorType, which numbers other types unlike the runtime
enum BufferField { kData = 0, kOffset = 1 };

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

size_t elements_of(const Table& tensor) {
  if (!tensor.has(kShape)) return 1;
  size_t elements = 1;
  for (int32_t size : tensor.indices(kShape)) elements *= static_cast<size_t>(size);
  return elements;
}

std::string string_fault_in(const Table& subgraph, const std::vector<Table>& buffers) {
  const std::vector<Table> tensors = subgraph.tables(kTensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto buffer = tensors[i].number<uint32_t>(kBuffer);
    const bool strings = tensors[i].number<int8_t>(kType) == kStringType;
    if (!strings || buffer >= buffers.size() || !buffers[buffer].has(kData)) continue;
    const std::string fault = string_fault(buffers[buffer].bytes(kData), elements_of(tensors[i]));
    if (!fault.empty()) return "tensor " + std::to_string(i) + " " + fault;
  }
  return {};
}

// What holds something before the first operator runs, or has nothing to hold, by index: inputs, constants, variables.
std::set<int32_t> given_tensors(const Table& subgraph, const std::vector<Table>& buffers) {
  const std::vector<int32_t> inputs = subgraph.indices(kInputs);
  std::set<int32_t> given(inputs.begin(), inputs.end());
  given.insert(-1);  // an optional input that is left out
  const std::vector<Table> tensors = subgraph.tables(kTensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto buffer = tensors[i].number<uint32_t>(kBuffer);
    const bool constant = buffer < buffers.size() && (buffers[buffer].has(kData) || buffers[buffer].has(kOffset));
    if (constant || tensors[i].number<uint8_t>(kIsVariable) || elements_of(tensors[i]) == 0)
      given.insert(static_cast<int32_t>(i));
  }
  return given;
}

std::string unwritten_read_in(const Table& subgraph, const std::vector<Table>& buffers) {
  std::set<int32_t> written = given_tensors(subgraph, buffers);
  const auto fault = [&](const std::vector<int32_t>& read, const std::string& reader) -> std::string {
    for (int32_t index : read) {
      if (!written.contains(index)) return reader + " reads tensor " + std::to_string(index) + ", which nobody wrote";
    }
    return {};
  };
  const std::vector<Table> nodes = subgraph.tables(kOperators);
  for (size_t i = 0; i < nodes.size(); ++i) {
    const std::string found = fault(nodes[i].indices(kOperatorInputs), "operator " + std::to_string(i));
    if (!found.empty()) return found;
    const std::vector<int32_t> outputs = nodes[i].indices(kOperatorOutputs);
    written.insert(outputs.begin(), outputs.end());
  }
  return fault(subgraph.indices(kOutputs), "the graph's caller");
}

}  // namespace

std::string tensor_fault(std::string_view bytes) {
  const Table model = Table::root(bytes);
  const std::vector<Table> buffers = model.tables(kBuffers);
  for (const Table& subgraph : model.tables(kSubgraphs)) {
    for (const auto& look : {string_fault_in, unwritten_read_in}) {
      const std::string fault = look(subgraph, buffers);
      if (!fault.empty()) return fault;
    }
  }
  return {};
}

std::string model_fault(std::string_view bytes) {
  Messages messages;
  if (!library().verify_and_build(bytes.data(), bytes.size(), nullptr, &messages)) {
    return messages.text().empty() ? "not a TensorFlow Lite model" : messages.text();
  }
  return absence_in(Table::root(bytes));
}

}  // namespace predictor::tflite
