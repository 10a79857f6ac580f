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
    for (const auto& look : {string_fault_in, unwritten_read_in}) {
      const std::string fault = look(*this, subgraph);
      if (!fault.empty()) throw ModelError(fault);
    }
  }
}

std::string_view ModelFile::content_of(const Table& tensor) const {
  const auto index = tensor.number<uint32_t>(kBuffer);
  if (index >= buffers_.size()) return {};
  const Table& buffer = buffers_[index];
  const auto offset = buffer.number<uint64_t>(kOffset);
  if (offset <= 1) return buffer.bytes(kData);  // 1 stands for content that a writer left out
  const auto size = buffer.number<uint64_t>(kSize);
  const bool fits = offset <= content_->size() && size <= content_->size() - offset;
  return fits ? content_->substr(offset, size) : std::string_view();
}

size_t elements_of(const Table& tensor) {
  size_t elements = 1;
  for (int32_t size : tensor.indices(kShape)) {
    if (__builtin_mul_overflow(elements, static_cast<size_t>(size), &elements)) return SIZE_MAX;
  }
  return elements;
}

}  // namespace predictor::tflite
