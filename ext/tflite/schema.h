// The shape of .tflite files: tensorflow/lite/schema/schema.fbs, as far as tables refer to others.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace predictor::tflite {

// Fields by their number in the schema.
enum ModelField { kOperatorCodes = 1, kSubgraphs = 2, kBuffers = 4 };
enum OperatorCodeField { kDeprecatedBuiltinCode = 0, kCustomCode = 1, kVersion = 2, kBuiltinCode = 3 };
enum SubgraphField { kTensors = 0, kInputs = 1, kOutputs = 2, kOperators = 3 };
enum OperatorField {
  kOpcodeIndex = 0,
  kOperatorInputs = 1,
  kOperatorOutputs = 2,
  kBuiltinOptionsType = 3,
  kBuiltinOptions = 4,
  kCustomOptions = 5,
  kLargeCustomOptionsOffset = 9,
  kLargeCustomOptionsSize = 10,
};
enum TensorField { kShape = 0, kType = 1, kBuffer = 2, kName = 3, kIsVariable = 5, kSparsity = 6 };
enum BufferField { kData = 0, kOffset = 1, kSize = 2 };
enum SkipGramField { kNgramSize = 0, kMaxSkipSize = 1, kIncludeAllNgrams = 2 };
enum ProjectionField { kProjectionType = 0 };

// Values of enumerations.
enum class TensorType : int8_t { kFloat32 = 0, kInt32 = 2, kUInt8 = 3, kString = 5, kResource = 13, kVariant = 14 };
enum BuiltinOperator : int32_t { kHashtableLookup = 10, kLshProjection = 15, kSkipGram = 30, kCustom = 32 };
enum OptionsType : uint8_t { kProjectionOptions = 4, kSkipGramOptions = 18 };

// What is wrong with the bytes as a flatbuffer of this schema; empty when nothing is. Then every table, vector and
// string that the schema knows lies within the bytes, and strings end with a NUL. Runtimes do not look.
std::string schema_fault(std::string_view bytes);

}  // namespace predictor::tflite
