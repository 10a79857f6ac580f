// Damaged model files through the reader of .tflite files and the executor of Smart Reply's graph, to be run under
// AddressSanitizer and UndefinedBehaviorSanitizer (scripts/sanitize.sh): each is refused with a message, or answers.
//
//   graph_fuzz [SEED]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "smart_reply/model.h"
#include "tflite/schema.h"
#include "weights/model_error.h"

namespace predictor {
namespace {

constexpr int kMutants = 40'000;

void check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "graph_fuzz: FAILED: %s\n", what);
  std::_Exit(1);
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t below(uint64_t end) { return std::uniform_int_distribution<uint64_t>(0, end - 1)(engine_); }

 private:
  std::mt19937_64 engine_;
};

// ---------------------------------------------------------------------------------------------- writing a flatbuffer

template <typename Number>
std::string bytes_of(Number number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

template <typename Number>
std::string bytes_of(const std::vector<Number>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number)};
}

// What a field holds: a number in the table itself, or something that the table refers to.
struct Value {
  enum Kind { kNumber, kVector, kTable, kTables } kind;
  std::string bytes;                               // of a number, or of a vector's elements
  uint32_t count = 0;                              // of a vector
  std::vector<std::pair<int, Value>> fields = {};  // of a table
  std::vector<Value> tables = {};
};

template <typename Number>
Value number(Number value) {
  return {Value::kNumber, bytes_of(value)};
}
template <typename Number>
Value numbers(const std::vector<Number>& values) {
  return {Value::kVector, bytes_of(values), static_cast<uint32_t>(values.size())};
}
Value raw(const std::string& bytes) {
  return {Value::kVector, bytes, static_cast<uint32_t>(bytes.size())};
}
Value text(const std::string& bytes) {
  return {Value::kVector, bytes + '\0', static_cast<uint32_t>(bytes.size())};
}
Value table(std::vector<std::pair<int, Value>> fields) {
  return {Value::kTable, "", 0, std::move(fields)};
}
Value tables(std::vector<Value> all) {
  return {Value::kTables, "", static_cast<uint32_t>(all.size()), {}, std::move(all)};
}

// Writes from the front on, so that all offsets are known when what they point to is written.
class Writer {
 public:
  static std::string file(const Value& root) {
    Writer writer;
    writer.bytes_ = bytes_of(uint32_t{0}) + "TFL3";
    writer.point(0, writer.write(root));
    return writer.bytes_;
  }

 private:
  static constexpr size_t kSlot = 8;

  size_t write(const Value& value) {
    if (value.kind == Value::kTable) return write_table(value);
    align(16);
    bytes_.append(12, '\0');  // a vector's elements lie at a multiple of 16
    const size_t at = bytes_.size();
    bytes_ += bytes_of(value.count) + value.bytes;
    if (value.kind == Value::kTables) {
      bytes_.append(4 * value.tables.size(), '\0');
      for (size_t i = 0; i < value.tables.size(); ++i) point(at + 4 + 4 * i, write(value.tables[i]));
    }
    return at;
  }

  size_t write_table(const Value& value) {
    int last = -1;
    for (const auto& field : value.fields) last = std::max(last, field.first);
    std::vector<uint16_t> vtable(static_cast<size_t>(last) + 3, 0);
    vtable[0] = static_cast<uint16_t>(2 * vtable.size());
    vtable[1] = static_cast<uint16_t>(kSlot * (value.fields.size() + 1));
    for (size_t i = 0; i < value.fields.size(); ++i) {
      vtable[static_cast<size_t>(value.fields[i].first) + 2] = static_cast<uint16_t>(kSlot * (i + 1));
    }
    align(8);
    const size_t vtable_at = bytes_.size();
    bytes_ += bytes_of(vtable);
    align(8);
    const size_t at = bytes_.size();
    bytes_ += bytes_of(static_cast<int32_t>(at - vtable_at));
    bytes_.resize(at + vtable[1], '\0');
    for (size_t i = 0; i < value.fields.size(); ++i) {
      const Value& field = value.fields[i].second;
      const size_t place = at + kSlot * (i + 1);
      if (field.kind == Value::kNumber) {
        bytes_.replace(place, field.bytes.size(), field.bytes);
      } else {
        point(place, write(field));
      }
    }
    return at;
  }

  void point(size_t from, size_t to) { bytes_.replace(from, 4, bytes_of(static_cast<uint32_t>(to - from))); }
  void align(size_t to) { bytes_.append((to - bytes_.size() % to) % to, '\0'); }

  std::string bytes_;
};

// ------------------------------------------------------------------------------------------------------ a small model

using Indices = std::vector<int32_t>;
constexpr int8_t kFloat32 = 0, kInt32 = 2, kUInt8 = 3, kString = 5;

Value tensor(const std::string& name, int8_t type, Indices shape = {}, uint32_t buffer = 0) {
  return table({{tflite::kShape, numbers(shape)},
                {tflite::kType, number(type)},
                {tflite::kBuffer, number(buffer)},
                {tflite::kName, text(name)}});
}

Value code(int32_t builtin, const std::string& name = "") {
  return table({{tflite::kCustomCode, text(name)}, {tflite::kBuiltinCode, number(builtin)}});
}

Value node(uint32_t opcode, Indices inputs, Indices outputs, std::vector<std::pair<int, Value>> more = {}) {
  more.insert(more.end(), {{tflite::kOpcodeIndex, number(opcode)},
                           {tflite::kOperatorInputs, numbers(inputs)},
                           {tflite::kOperatorOutputs, numbers(outputs)}});
  return table(std::move(more));
}

std::string strings(const std::vector<std::string>& texts) {
  Indices header = {static_cast<int32_t>(texts.size())};
  std::string all;
  for (size_t i = 0; i <= texts.size(); ++i) {
    header.push_back(static_cast<int32_t>(4 * (texts.size() + 2) + all.size()));
    if (i < texts.size()) all += texts[i];
  }
  return bytes_of(header) + all;
}

// 4 hashes of 3 bits, 2 of 3 replies for each signature.
std::string small_model() {
  std::vector<float> seeds, weights;
  Indices keys, labels;
  for (int i = 0; i < 12; ++i) seeds.push_back(static_cast<float>(i) * 1.7f + 0.3f);
  for (int i = 0; i < 32; ++i) keys.push_back(i);
  for (int i = 0; i < 64; ++i) labels.push_back(i % 3), weights.push_back(static_cast<float>(i % 5) / 4);
  std::vector<Value> buffers;
  for (const std::string& content : {std::string(), bytes_of(seeds), bytes_of(keys), bytes_of(labels),
                                     bytes_of(weights), bytes_of(Indices{0, 1, 2}), strings({"yes", "", "no"})}) {
    buffers.push_back(content.empty() ? table({}) : table({{tflite::kData, raw(content)}}));
  }
  std::vector<Value> tensors = {tensor("message", kString),
                                tensor("normalized", kString),
                                tensor("ngrams", kString),
                                tensor("feature", kInt32),
                                tensor("weight", kFloat32),
                                tensor("signature", kInt32),
                                tensor("label", kInt32),
                                tensor("score", kFloat32),
                                tensor("reply", kString),
                                tensor("hit", kUInt8),
                                tensor("seed", kFloat32, {4, 3}, 1),
                                tensor("key", kInt32, {32}, 2),
                                tensor("labels", kInt32, {32, 2}, 3),
                                tensor("weights", kFloat32, {32, 2}, 4),
                                tensor("id", kInt32, {3}, 5),
                                tensor("text", kString, {3}, 6)};
  const Value skip_gram = table({{tflite::kNgramSize, number(int32_t{3})},
                                 {tflite::kMaxSkipSize, number(int32_t{2})},
                                 {tflite::kIncludeAllNgrams, number(uint8_t{1})}});
  const Value projection = table({{tflite::kProjectionType, number(int8_t{1})}});
  std::vector<Value> nodes = {
      node(0, {0}, {1}),
      node(1, {1}, {2}, {{tflite::kBuiltinOptionsType, number(uint8_t{18})}, {tflite::kBuiltinOptions, skip_gram}}),
      node(2, {2}, {3, 4}),
      node(3, {10, 3, 4}, {5},
           {{tflite::kBuiltinOptionsType, number(uint8_t{4})}, {tflite::kBuiltinOptions, projection}}),
      node(4, {5, 11, 12, 13}, {6, 7}, {{tflite::kCustomOptions, raw(bytes_of(int32_t{2}) + bytes_of(0.1f))}}),
      node(5, {6, 14, 15}, {8, 9})};
  std::vector<Value> codes = {code(tflite::kCustom, "Normalize"),       code(tflite::kSkipGram),
                              code(tflite::kCustom, "ExtractFeatures"), code(tflite::kLshProjection),
                              code(tflite::kCustom, "Predict"),         code(tflite::kHashtableLookup)};
  const Value subgraph = table({{tflite::kTensors, tables(std::move(tensors))},
                                {tflite::kInputs, numbers(Indices{0})},
                                {tflite::kOutputs, numbers(Indices{8, 7})},
                                {tflite::kOperators, tables(std::move(nodes))}});
  return Writer::file(table({{tflite::kOperatorCodes, tables(std::move(codes))},
                             {tflite::kSubgraphs, tables({subgraph})},
                             {tflite::kBuffers, tables(std::move(buffers))}}));
}

// ----------------------------------------------------------------------------------------------------------- mutants

std::string damaged(std::string bytes, Random& random) {
  if (random.below(8) == 0) bytes.resize(1 + random.below(bytes.size()));
  for (uint64_t n = 1 + random.below(3); n > 0; --n) {
    const size_t at = random.below(bytes.size());
    if (random.below(2) == 0 || bytes.size() < 8) {
      static constexpr uint8_t kBytes[] = {0, 1, 2, 3, 127, 128, 254, 255};
      bytes[at] = static_cast<char>(kBytes[random.below(std::size(kBytes))]);
    } else {
      static constexpr uint32_t kWords[] = {0,          1,          0x7fffffff, 0x80000000,
                                            0xffffffff, 0xfffffffc, 0x40000000, 0x7fc00000};
      const size_t word = std::min(at / 4 * 4, bytes.size() - 4);
      const auto size = static_cast<uint32_t>(bytes.size());
      const uint32_t value = random.below(2) == 0 ? static_cast<uint32_t>(size - word - 8 + random.below(16))
                                                  : kWords[random.below(std::size(kWords))];
      bytes.replace(word, 4, bytes_of(value));
    }
  }
  return bytes;
}

// Whether it was refused.
bool refused(std::string_view bytes) {
  try {
    const tflite::ModelFile file(tflite::copied(bytes));
    file.operator_names();
    const smart_reply::Model model(file);
    smart_reply::Model::Scratch scratch;
    const std::vector<std::string> messages = {"a b c. d e f?", ""};
    for (const smart_reply::Reply& reply : model.replies(messages, scratch)) check(!reply.text.empty(), "empty reply");
    file.check_tensors();
    return false;
  } catch (const ModelError& error) {
    check(error.what()[0] != '\0', "a refusal says why");
    return true;
  }
}

void check_models(Random& random) {
  const std::string whole = small_model();
  check(!refused(whole), "the whole model answers");
  int count = 0;
  for (int i = 0; i < kMutants; ++i) count += refused(damaged(whole, random));
  check(count > kMutants / 4 && count < kMutants, "some are refused, and some are not");
  std::printf("graph_fuzz: %d of %d damaged files were refused, the others answered\n", count, kMutants);
}

}  // namespace
}  // namespace predictor

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : std::random_device{}();
  std::printf("graph_fuzz: seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  predictor::Random random(seed);
  predictor::check_models(random);
}
