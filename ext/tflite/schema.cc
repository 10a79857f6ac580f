#include "tflite/schema.h"

#include <cstring>
#include <span>
#include <utility>

namespace predictor::tflite {

namespace {

constexpr int kMaxTables = 1'000'000;  // a file may refer to one table from many places

enum class Kind {
  kVector,  // of numbers of `element_bytes`
  kString,
  kTable,
  kTables,
  kUnion,  // the number of the variant is in the field before
};

// Tables, and unions of them.
enum class Shape {
  kPlain,  // numbers only, or a table that no field below names
  kModel,
  kOperatorCode,
  kSubgraph,
  kTensor,
  kQuantization,
  kQuantizationDetails,
  kSparsity,
  kDimension,
  kSparseIndices,
  kVariantSubType,
  kOperator,
  kOptions,
  kOptions2,
  kBuffer,
  kMetadata,
  kSignature,
  kTensorMap,
};

struct Field {
  int number;
  Kind kind;
  int element_bytes = 0;
  Shape target = Shape::kPlain;
};
using Fields = std::span<const Field>;

constexpr Field vector_of(int element_bytes, int number) {
  return {number, Kind::kVector, element_bytes};
}
constexpr Field text(int number) {
  return {number, Kind::kString};
}
constexpr Field tables(int number, Shape target) {
  return {number, Kind::kTables, 0, target};
}

constexpr Field kModelFields[] = {
    tables(1, Shape::kOperatorCode), tables(2, Shape::kSubgraph), text(3), tables(4, Shape::kBuffer), vector_of(4, 5),
    tables(6, Shape::kMetadata),     tables(7, Shape::kSignature)};
constexpr Field kOperatorCodeFields[] = {text(1)};
constexpr Field kSubgraphFields[] = {tables(0, Shape::kTensor), vector_of(4, 1), vector_of(4, 2),
                                     tables(3, Shape::kOperator), text(4)};
constexpr Field kTensorFields[] = {vector_of(4, 0),
                                   text(3),
                                   {4, Kind::kTable, 0, Shape::kQuantization},
                                   {6, Kind::kTable, 0, Shape::kSparsity},
                                   vector_of(4, 7),
                                   tables(9, Shape::kVariantSubType)};
constexpr Field kQuantizationFields[] = {vector_of(4, 0),
                                         vector_of(4, 1),
                                         vector_of(4, 2),
                                         vector_of(8, 3),
                                         {5, Kind::kUnion, 0, Shape::kQuantizationDetails}};
constexpr Field kSparsityFields[] = {vector_of(4, 0), vector_of(4, 1), tables(2, Shape::kDimension)};
constexpr Field kDimensionFields[] = {{3, Kind::kUnion, 0, Shape::kSparseIndices},
                                      {5, Kind::kUnion, 0, Shape::kSparseIndices}};
constexpr Field kOperatorFields[] = {
    vector_of(4, 1), vector_of(4, 2), {4, Kind::kUnion, 0, Shape::kOptions},  vector_of(1, 5),
    vector_of(1, 7), vector_of(4, 8), {12, Kind::kUnion, 0, Shape::kOptions2}};
constexpr Field kSignatureFields[] = {tables(0, Shape::kTensorMap), tables(1, Shape::kTensorMap), text(2)};
constexpr Field kOneName[] = {text(0)};  // of OperatorCode's neighbours: Metadata, TensorMap
constexpr Field kOneVector1[] = {vector_of(1, 0)};
constexpr Field kOneVector2[] = {vector_of(2, 0)};
constexpr Field kOneVector4[] = {vector_of(4, 0)};
constexpr Field kOneVector8[] = {vector_of(8, 0)};

Fields fields_of(Shape shape) {
  switch (shape) {
    case Shape::kModel:
      return kModelFields;
    case Shape::kOperatorCode:
      return kOperatorCodeFields;
    case Shape::kSubgraph:
      return kSubgraphFields;
    case Shape::kTensor:
      return kTensorFields;
    case Shape::kQuantization:
      return kQuantizationFields;
    case Shape::kSparsity:
      return kSparsityFields;
    case Shape::kDimension:
      return kDimensionFields;
    case Shape::kVariantSubType:
      return kOneVector4;
    case Shape::kOperator:
      return kOperatorFields;
    case Shape::kBuffer:
      return kOneVector1;
    case Shape::kMetadata:
    case Shape::kTensorMap:
      return kOneName;
    case Shape::kSignature:
      return kSignatureFields;
    default:
      return {};
  }
}

// Of the options of an operator, by their number in the schema's union BuiltinOptions.
Fields options_fields(int variant) {
  static constexpr Field kConcatEmbeddings[] = {vector_of(4, 1), vector_of(4, 2)};
  static constexpr Field kVarHandle[] = {text(0), text(1)};
  switch (variant) {
    case 3:
      return kConcatEmbeddings;
    case 17:   // Reshape
    case 30:   // Squeeze
    case 115:  // Bucketize
      return kOneVector4;
    case 111:
      return kVarHandle;
    default:
      return {};
  }
}

// The same of BuiltinOptions2, which are those of StableHLO.
Fields options2_fields(int variant) {
  static constexpr Field kThree8[] = {vector_of(8, 0), vector_of(8, 1), vector_of(8, 2)};
  static constexpr Field kConvolution[] = {vector_of(8, 0),  vector_of(8, 1),  vector_of(8, 2),
                                           vector_of(8, 3),  vector_of(1, 4),  vector_of(8, 7),
                                           vector_of(8, 10), vector_of(8, 13), vector_of(4, 16)};
  static constexpr Field kCustomCall[] = {text(0), text(2), vector_of(4, 4), vector_of(1, 5)};
  static constexpr Field kScatter[] = {vector_of(8, 1), vector_of(8, 2), vector_of(8, 3)};
  static constexpr Field kDotGeneral[] = {vector_of(8, 0), vector_of(8, 1), vector_of(8, 2), vector_of(8, 3),
                                          vector_of(4, 4)};
  static constexpr Field kReduceWindow[] = {vector_of(8, 0), vector_of(8, 1), vector_of(8, 2), vector_of(8, 3),
                                            vector_of(8, 4)};
  static constexpr Field kGather[] = {vector_of(8, 0), vector_of(8, 1), vector_of(8, 2), vector_of(8, 4)};
  static constexpr Field kComposite[] = {text(0), vector_of(1, 2)};
  switch (variant) {
    case 2:   // BroadcastInDim
    case 6:   // Reduce
    case 9:   // DynamicSlice
    case 17:  // Transpose
      return kOneVector8;
    case 3:   // Slice
    case 10:  // Pad
      return kThree8;
    case 4:
      return kConvolution;
    case 5:
      return kCustomCall;
    case 7:
      return kScatter;
    case 12:
      return kDotGeneral;
    case 13:
      return kReduceWindow;
    case 16:
      return kGather;
    case 21:
      return kComposite;
    default:
      return {};
  }
}

Fields variant_fields(Shape one_of, int variant) {
  switch (one_of) {
    case Shape::kOptions:
      return options_fields(variant);
    case Shape::kOptions2:
      return options2_fields(variant);
    case Shape::kSparseIndices:
      return variant == 1 ? kOneVector4 : variant == 2 ? Fields(kOneVector2) : kOneVector1;
    default:  // the details of a quantization
      return variant == 1 ? Fields(kOneVector1) : Fields();
  }
}

const char* name_of(Shape shape) {
  static constexpr const char* kNames[] = {"plain table",
                                           "Model",
                                           "OperatorCode",
                                           "SubGraph",
                                           "Tensor",
                                           "Quantization",
                                           "QuantizationDetails",
                                           "Sparsity",
                                           "DimensionMetadata",
                                           "SparseIndices",
                                           "VariantSubType",
                                           "Operator",
                                           "BuiltinOptions",
                                           "BuiltinOptions2",
                                           "Buffer",
                                           "Metadata",
                                           "SignatureDef",
                                           "TensorMap"};
  return kNames[static_cast<size_t>(shape)];
}

struct Fault {
  std::string text;
};

class Verifier {
 public:
  explicit Verifier(std::string_view bytes) : bytes_(bytes) {}

  void check_file() { check_table(target(0), Shape::kModel, fields_of(Shape::kModel)); }

 private:
  template <typename Number>
  Number read(size_t at) const {
    Number number;
    if (at > bytes_.size() || bytes_.size() - at < sizeof(number)) fail(at);
    std::memcpy(&number, bytes_.data() + at, sizeof(number));
    return number;
  }

  [[noreturn]] void fail(size_t at) const {
    throw Fault{"the " + std::string(name_of(shape_)) + ", or what it refers to, at byte " + std::to_string(at) +
                " does not lie within the file's " + std::to_string(bytes_.size()) + " bytes"};
  }

  size_t target(size_t at) const { return at + read<uint32_t>(at); }

  void check_table(size_t at, Shape shape, Fields fields) {
    const Shape outer = std::exchange(shape_, shape);
    if (++tables_ > kMaxTables) throw Fault{"it refers to more than 1,000,000 tables"};
    const int64_t vtable = static_cast<int64_t>(at) - read<int32_t>(at);
    if (vtable < 0) fail(at);
    const size_t begin = static_cast<size_t>(vtable);
    const size_t vtable_bytes = read<uint16_t>(begin), table_bytes = read<uint16_t>(begin + 2);
    if (vtable_bytes < 4 || vtable_bytes % 2 != 0 || begin + vtable_bytes > bytes_.size()) fail(begin);
    if (table_bytes < 4 || at + table_bytes > bytes_.size()) fail(at);
    const auto place = [&](int field) -> size_t {
      const size_t entry = 4 + 2 * static_cast<size_t>(field);
      return entry < vtable_bytes ? read<uint16_t>(begin + entry) : 0;
    };
    for (int field = 0; 4 + 2 * static_cast<size_t>(field) < vtable_bytes; ++field) {
      if (place(field) != 0 && (place(field) < 4 || place(field) >= table_bytes)) fail(begin);
    }
    for (const Field& field : fields) {
      if (place(field.number) == 0) continue;
      const size_t type = field.kind == Kind::kUnion ? place(field.number - 1) : 0;
      check_field(field, at + place(field.number), type ? read<uint8_t>(at + type) : 0);
    }
    shape_ = outer;
  }

  void check_field(const Field& field, size_t at, int variant) {
    switch (field.kind) {
      case Kind::kVector:
        check_vector(target(at), static_cast<size_t>(field.element_bytes));
        return;
      case Kind::kString: {
        const size_t end = check_vector(target(at), 1);
        return read<char>(end) == 0 ? void() : fail(end);
      }
      case Kind::kTable:
        return check_table(target(at), field.target, fields_of(field.target));
      case Kind::kUnion:
        return check_table(target(at), field.target, variant_fields(field.target, variant));
      case Kind::kTables:
        const size_t begin = target(at) + sizeof(uint32_t), end = check_vector(target(at), sizeof(uint32_t));
        for (size_t element = begin; element < end; element += sizeof(uint32_t)) {
          check_table(target(element), field.target, fields_of(field.target));
        }
    }
  }

  size_t check_vector(size_t at, size_t element_bytes) const {
    const size_t end = at + sizeof(uint32_t) + element_bytes * read<uint32_t>(at);
    if (end > bytes_.size()) fail(at);
    return end;
  }

  const std::string_view bytes_;
  int tables_ = 0;
  Shape shape_ = Shape::kModel;  // of the table that is looked at
};

}  // namespace

std::string schema_fault(std::string_view bytes) {
  try {
    Verifier(bytes).check_file();
    return {};
  } catch (const Fault& fault) {
    return fault.text;
  }
}

}  // namespace predictor::tflite
