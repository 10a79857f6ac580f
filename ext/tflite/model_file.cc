#include "tflite/model_file.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

#include "tflite/schema.h"
#include "tflite/strings.h"
#include "weights/model_error.h"

namespace predictor::tflite {

namespace {

constexpr std::string_view kIdentifier = "TFL3";
constexpr size_t kIdentifierPlace = 4;

std::string fault_of(std::string_view bytes) {
  if (bytes.size() < kIdentifierPlace || bytes.substr(kIdentifierPlace, kIdentifier.size()) != kIdentifier) {
    return "the file does not begin as one";
  }
  return schema_fault(bytes);
}

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

// Whether a number of bytes lies somewhere behind the flatbuffer. Smaller numbers stand for none.
bool is_elsewhere(uint64_t offset, uint64_t size) {
  return offset > 1 && size > 1;
}

bool fits(uint64_t offset, uint64_t size, size_t bytes) {
  return offset <= bytes && size <= bytes - offset;
}

std::string place_fault(const Table& table, int offset_field, int size_field, size_t bytes) {
  const auto offset = table.number<uint64_t>(offset_field);
  const auto size = table.number<uint64_t>(size_field);
  if (!is_elsewhere(offset, size) || fits(offset, size, bytes)) return {};
  return std::to_string(size) + " bytes from byte " + std::to_string(offset) + " on, which the file's " +
         std::to_string(bytes) + " do not have";
}

std::string content_fault_in(const Table& model, size_t bytes) {
  const std::vector<Table> buffers = model.tables(kBuffers);
  for (size_t i = 0; i < buffers.size(); ++i) {
    const std::string fault = place_fault(buffers[i], kOffset, kSize, bytes);
    if (!fault.empty()) return "buffer " + std::to_string(i) + " has " + fault;
  }
  for (const Table& subgraph : model.tables(kSubgraphs)) {
    for (const Table& node : subgraph.tables(kOperators)) {
      const std::string fault = place_fault(node, kLargeCustomOptionsOffset, kLargeCustomOptionsSize, bytes);
      if (!fault.empty()) return "an operator's options have " + fault;
    }
  }
  return {};
}

std::string unchecked_in(const ModelFile& file, const Table& subgraph) {
  const std::vector<Table> tensors = subgraph.tables(kTensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto type = TensorType{tensors[i].number<int8_t>(kType)};
    const std::string name = "tensor " + std::to_string(i);
    if (tensors[i].has(kSparsity)) return name + " is sparse, which is not served";
    if ((type == TensorType::kResource || type == TensorType::kVariant) && !file.content_of(tensors[i]).empty()) {
      return name + " is a resource with content of its own, which is not served";
    }
  }
  return {};
}

std::string string_fault_in(const ModelFile& file, const Table& subgraph) {
  const std::vector<Table> tensors = subgraph.tables(kTensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string_view content = file.content_of(tensors[i]);
    const bool strings = TensorType{tensors[i].number<int8_t>(kType)} == TensorType::kString;
    if (!strings || content.empty()) continue;
    const std::string fault = string_fault(content, elements_of(tensors[i]));
    if (!fault.empty()) return "tensor " + std::to_string(i) + " " + fault;
  }
  return {};
}

// What holds something before the first operator runs, or has nothing to hold, by index: inputs, constants, variables.
std::set<int32_t> given_tensors(const ModelFile& file, const Table& subgraph) {
  const std::vector<int32_t> inputs = subgraph.indices(kInputs);
  std::set<int32_t> given(inputs.begin(), inputs.end());
  given.insert(-1);  // an optional input that is left out
  const std::vector<Table> tensors = subgraph.tables(kTensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const bool constant = !file.content_of(tensors[i]).empty();
    if (constant || tensors[i].number<uint8_t>(kIsVariable) || elements_of(tensors[i]) == 0)
      given.insert(static_cast<int32_t>(i));
  }
  return given;
}

std::string unwritten_read_in(const ModelFile& file, const Table& subgraph) {
  std::set<int32_t> written = given_tensors(file, subgraph);
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

std::string name_of(const Table& code) {
  const int32_t old = code.number<int8_t>(kDeprecatedBuiltinCode);  // where the number was before it had 32 bits
  switch (const int32_t builtin = std::max(old, code.number<int32_t>(kBuiltinCode))) {
    case kCustom:
      return std::string(code.bytes(kCustomCode));
    case kSkipGram:
      return "SKIP_GRAM";
    case kLshProjection:
      return "LSH_PROJECTION";
    case kHashtableLookup:
      return "HASHTABLE_LOOKUP";
    default:
      return "builtin " + std::to_string(builtin);
  }
}

}  // namespace

ModelFile::ModelFile(Content content) : content_(std::move(content)) {
  std::string fault = fault_of(*content_);
  if (fault.empty()) fault = absence_in(root());
  if (fault.empty()) fault = content_fault_in(root(), content_->size());
  if (!fault.empty()) throw ModelError("no TensorFlow Lite model, or damaged: " + fault);
  buffers_ = root().tables(kBuffers);
}

std::vector<std::string> ModelFile::operator_names() const {
  const std::vector<Table> codes = root().tables(kOperatorCodes), subgraphs = root().tables(kSubgraphs);
  std::vector<std::string> names;
  if (subgraphs.empty()) return names;
  for (const Table& node : subgraphs[0].tables(kOperators)) {
    const auto code = node.number<uint32_t>(kOpcodeIndex);
    if (code >= codes.size()) {
      throw ModelError("operator " + std::to_string(names.size()) + " has code " + std::to_string(code) + " of " +
                       std::to_string(codes.size()));
    }
    names.push_back(name_of(codes[code]));
  }
  return names;
}

void ModelFile::check_tensors() const {
  for (const Table& subgraph : root().tables(kSubgraphs)) {
    for (const auto& look : {unchecked_in, string_fault_in, unwritten_read_in}) {
      const std::string fault = look(*this, subgraph);
      if (!fault.empty()) throw ModelError(fault);
    }
  }
}

std::string_view ModelFile::content_of(const Table& tensor) const {
  const auto index = tensor.number<uint32_t>(kBuffer);
  if (index == 0 || index >= buffers_.size()) return {};  // the first stands for none
  const Table& buffer = buffers_[index];
  if (buffer.has(kData)) return buffer.bytes(kData);
  const auto offset = buffer.number<uint64_t>(kOffset);
  const auto size = buffer.number<uint64_t>(kSize);
  return is_elsewhere(offset, size) ? content_->substr(offset, size) : std::string_view();
}

size_t elements_of(const Table& tensor) {
  size_t elements = 1;
  for (int32_t size : tensor.indices(kShape)) {
    if (__builtin_mul_overflow(elements, static_cast<size_t>(size), &elements)) return SIZE_MAX;
  }
  return elements;
}

}  // namespace predictor::tflite
