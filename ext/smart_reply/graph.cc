#include "smart_reply/graph.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "tflite/schema.h"
#include "tflite/strings.h"
#include "weights/model_error.h"

namespace predictor::smart_reply {

namespace {

using tflite::Table;
using tflite::TensorType;

enum Step { kNormalize, kSkipGrams, kFeatures, kProject, kPredict, kLookup };

[[noreturn]] void refuse(Step step, const std::string& fault) {
  throw ModelError(std::string(kOperators[step]) + ": " + fault);
}

std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kMost = 8;
  std::string list;
  for (size_t i = 0; i < names.size() && i < kMost; ++i) list += (i ? ", " : "") + names[i];
  return names.empty() ? "none" : names.size() > kMost ? list + ", ..." : list;
}

[[noreturn]] void refuse_graph(const std::string& found) {
  std::string chain;
  for (std::string_view name : kOperators) chain += (chain.empty() ? "" : " -> ") + std::string(name);
  throw ModelError("no Smart Reply graph, which is " + chain +
                   ", one string in, strings and their scores out: " + found);
}

class GraphReader {
 public:
  explicit GraphReader(const tflite::ModelFile& file) : file_(file), subgraph_(only_subgraph(file)) {
    tensors_ = subgraph_.tables(tflite::kTensors);
    for (const Table& node : subgraph_.tables(tflite::kOperators)) nodes_.push_back(node);
    for (const Table& node : nodes_) {
      inputs_.push_back(node.indices(tflite::kOperatorInputs));
      outputs_.push_back(node.indices(tflite::kOperatorOutputs));
    }
  }

  Graph read() const {
    check_arities();
    check_chain();
    Graph graph;
    graph.skip_gram = skip_gram();
    graph.seeds = seeds();
    graph.table = reply_table();
    read_responses(graph);
    return graph;
  }

 private:
  static Table only_subgraph(const tflite::ModelFile& file) {
    if (!is_smart_reply(file)) refuse_graph("operators " + listed(file.operator_names()));
    const std::vector<Table> subgraphs = file.root().tables(tflite::kSubgraphs);
    if (subgraphs.size() != 1) refuse_graph(std::to_string(subgraphs.size()) + " subgraphs");
    return subgraphs[0];
  }

  void check_arities() const {
    constexpr std::pair<size_t, size_t> kArities[] = {{1, 1}, {1, 1}, {1, 2}, {3, 1}, {4, 2}, {3, 2}};
    for (size_t i = 0; i < std::size(kArities); ++i) {
      const auto [inputs, outputs] = kArities[i];
      const bool unweighted = i == kProject && inputs_[i].size() == 2;
      if ((inputs_[i].size() != inputs && !unweighted) || outputs_[i].size() != outputs) {
        refuse(Step(i), "needs " + std::to_string(inputs) + " input(s) and " + std::to_string(outputs) + " output(s)");
      }
      for (const auto* indices : {&inputs_[i], &outputs_[i]}) {
        for (int32_t index : *indices) tensor(Step(i), index);
      }
    }
  }

  // Every operator reads what the one before it wrote; and what goes in and out is of the type that it takes.
  void check_chain() const {
    const std::vector<int32_t> in = subgraph_.indices(tflite::kInputs);
    std::vector<int32_t> out = subgraph_.indices(tflite::kOutputs),
                         ends = {outputs_[kLookup][0], outputs_[kPredict][1]};
    std::sort(out.begin(), out.end());
    std::sort(ends.begin(), ends.end());
    if (in.size() != 1) refuse_graph(std::to_string(in.size()) + " inputs");
    if (out != ends) refuse_graph("the outputs are others");
    expect(kNormalize, inputs_[kNormalize], 0, in);
    for (Step step : {kSkipGrams, kFeatures, kPredict, kLookup}) expect(step, inputs_[step], 0, outputs_[step - 1]);
    for (size_t i = 1; i < inputs_[kProject].size(); ++i) {
      if (inputs_[kProject][i] != outputs_[kFeatures][i - 1]) refuse_link(kProject);
    }
    expect_types(kNormalize, {in[0], outputs_[kNormalize][0]}, TensorType::kString, "strings");
    expect_types(kSkipGrams, outputs_[kSkipGrams], TensorType::kString, "strings");
    expect_types(kFeatures, {outputs_[kFeatures][0]}, TensorType::kInt32, "int32");
    expect_types(kFeatures, {outputs_[kFeatures][1]}, TensorType::kFloat32, "float32");
    expect_types(kProject, outputs_[kProject], TensorType::kInt32, "int32");
    expect_types(kPredict, {outputs_[kPredict][0]}, TensorType::kInt32, "int32");
    expect_types(kPredict, {outputs_[kPredict][1]}, TensorType::kFloat32, "float32");
    expect_types(kLookup, {outputs_[kLookup][0]}, TensorType::kString, "strings");
    expect_types(kLookup, {outputs_[kLookup][1]}, TensorType::kUInt8, "uint8");
  }

  void expect(Step step, const std::vector<int32_t>& read, size_t position, const std::vector<int32_t>& written) const {
    if (read[position] != written[0]) refuse_link(step);
  }

  [[noreturn]] static void refuse_link(Step step) {
    throw ModelError("operator " + std::string(kOperators[step]) + " does not read what the one before it wrote");
  }

  void expect_types(Step step, const std::vector<int32_t>& indices, TensorType type, const char* name) const {
    for (int32_t index : indices) {
      if (type_of(tensor(step, index)) != type) refuse(step, "tensor " + name_of(index) + " must be of " + name);
    }
  }

  SkipGramOptions skip_gram() const {
    const Table options = options_of(kSkipGrams, tflite::kSkipGramOptions);
    const SkipGramOptions read{options.number<int32_t>(tflite::kNgramSize),
                               options.number<int32_t>(tflite::kMaxSkipSize),
                               options.number<uint8_t>(tflite::kIncludeAllNgrams) != 0};
    if (read.ngram_size < 1 || read.ngram_size > kMaxNgramSize || read.max_skip < 0 || read.max_skip > kMaxSkip) {
      refuse(kSkipGrams, "the n-grams must be of 1 to 5 words and skip 0 to 10");
    }
    return read;
  }

  HashSeeds seeds() const {
    constexpr int8_t kSparse = 1, kDense = 2;
    const auto type = options_of(kProject, tflite::kProjectionOptions).number<int8_t>(tflite::kProjectionType);
    if (type != kSparse && type != kDense) refuse(kProject, "the projection must be sparse or dense");
    const int32_t index = inputs_[kProject][0];
    const std::vector<int32_t> shape =
        shape_of(kProject, index, TensorType::kFloat32, 2, "seeds must be float32[h, b]");
    HashSeeds seeds{{}, static_cast<size_t>(shape[1]), type == kSparse, inputs_[kProject].size() == 3};
    const char* fault = shape_fault(static_cast<size_t>(shape[0]), seeds.bits, seeds.sparse);
    if (fault) refuse(kProject, fault);
    seeds.bits_of_floats = numbers<uint32_t>(kProject, index);
    return seeds;
  }

  ReplyTable reply_table() const {
    ReplyTable table;
    const std::string_view options = nodes_[kPredict].bytes(tflite::kCustomOptions);
    if (options.size() != sizeof(table.most_labels) + sizeof(table.threshold)) {
      refuse(kPredict, "the custom options must be 8 bytes, int32 number of outputs and float32 threshold");
    }
    std::memcpy(&table.most_labels, options.data(), sizeof(table.most_labels));
    std::memcpy(&table.threshold, options.data() + sizeof(table.most_labels), sizeof(table.threshold));
    if (table.most_labels < 1 || table.most_labels > kMaxLabels || !std::isfinite(table.threshold)) {
      refuse(kPredict, "the number of outputs must be 1 to 10,000 and the threshold finite");
    }
    const std::vector<int32_t>& in = inputs_[kPredict];
    const auto rows = shape_of(kPredict, in[1], TensorType::kInt32, 1, "keys must be int32[m]");
    const auto labels = shape_of(kPredict, in[2], TensorType::kInt32, 2, "labels must be int32[m, j]");
    const auto weights = shape_of(kPredict, in[3], TensorType::kFloat32, 2, "weights must be float32[m, j]");
    if (labels[0] != rows[0]) refuse(kPredict, "there must be as many rows of labels as keys");
    if (labels != weights) refuse(kPredict, "labels and weights must have the same shape");
    table.width = static_cast<size_t>(labels[1]);
    table.keys = numbers<int32_t>(kPredict, in[1]);
    table.labels = numbers<int32_t>(kPredict, in[2]);
    table.weights = numbers<float>(kPredict, in[3]);
    if (!std::is_sorted(table.keys.begin(), table.keys.end())) refuse(kPredict, "the keys are not sorted");
    if (!std::all_of(table.weights.begin(), table.weights.end(), [](float weight) { return std::isfinite(weight); })) {
      refuse(kPredict, "the weights must be finite");
    }
    return table;
  }

  void read_responses(Graph& graph) const {
    const std::vector<int32_t>& in = inputs_[kLookup];
    const auto ids = shape_of(kLookup, in[1], TensorType::kInt32, 1, "ids of the responses must be int32[n]");
    const auto texts = shape_of(kLookup, in[2], TensorType::kString, 1, "responses must be strings[n]");
    if (ids != texts) refuse(kLookup, "there must be as many responses, strings, as ids of them");
    graph.response_ids = numbers<int32_t>(kLookup, in[1]);
    const auto not_rising = [](int32_t a, int32_t b) { return a >= b; };
    if (std::adjacent_find(graph.response_ids.begin(), graph.response_ids.end(), not_rising) !=
        graph.response_ids.end()) {
      refuse(kLookup, "the ids of the responses must be sorted, and none there twice");
    }
    const std::string_view content = constant(kLookup, in[2]);
    const std::string fault = tflite::string_fault(content, graph.response_ids.size());
    if (!fault.empty()) throw ModelError("tensor " + name_of(in[2]) + " " + fault);
    for (size_t i = 0; i < graph.response_ids.size(); ++i) graph.responses.push_back(tflite::string_at(content, i));
  }

  // ------------------------------------------------------------------------------------------------------- tensors

  const Table& tensor(Step step, int32_t index) const {
    if (index >= 0 && static_cast<size_t>(index) < tensors_.size()) return tensors_[static_cast<size_t>(index)];
    refuse(step, "there is no tensor " + std::to_string(index));
  }

  static TensorType type_of(const Table& tensor) { return TensorType{tensor.number<int8_t>(tflite::kType)}; }

  std::string name_of(int32_t index) const {
    return std::string(tensors_[static_cast<size_t>(index)].bytes(tflite::kName));
  }

  Table options_of(Step step, tflite::OptionsType type) const {
    const Table& node = nodes_[step];
    if (node.number<uint8_t>(tflite::kBuiltinOptionsType) != type || !node.has(tflite::kBuiltinOptions)) {
      refuse(step, "it has no options");
    }
    return node.table(tflite::kBuiltinOptions);
  }

  std::vector<int32_t> shape_of(Step step, int32_t index, TensorType type, size_t rank, const char* wanted) const {
    std::vector<int32_t> shape = tensor(step, index).indices(tflite::kShape);
    const bool sizes = std::all_of(shape.begin(), shape.end(), [](int32_t size) { return size >= 0; });
    if (type_of(tensor(step, index)) != type || shape.size() != rank || !sizes)
      refuse(step, std::string("the ") + wanted);
    return shape;
  }

  std::string_view constant(Step step, int32_t index) const {
    const std::string_view content = file_.content_of(tensor(step, index));
    if (content.empty() && tflite::elements_of(tensor(step, index)) != 0) {
      throw ModelError("tensor " + name_of(index) + " must be a constant");
    }
    return content;
  }

  template <typename Number>
  std::span<const Number> numbers(Step step, int32_t index) const {
    const std::string_view content = constant(step, index);
    const size_t elements = tflite::elements_of(tensor(step, index));
    if (content.size() % sizeof(Number) != 0 || content.size() / sizeof(Number) != elements) {
      throw ModelError("tensor " + name_of(index) + " must be a constant with as many bytes as its shape says");
    }
    if (reinterpret_cast<uintptr_t>(content.data()) % alignof(Number) != 0) {
      throw ModelError("tensor " + name_of(index) + " does not lie at a multiple of 4 bytes in the file");
    }
    return {reinterpret_cast<const Number*>(content.data()), elements};
  }

  const tflite::ModelFile& file_;
  const Table subgraph_;
  std::vector<Table> tensors_;
  std::vector<Table> nodes_;
  std::vector<std::vector<int32_t>> inputs_;   // of each operator
  std::vector<std::vector<int32_t>> outputs_;  // the same
};

}  // namespace

bool is_smart_reply(const tflite::ModelFile& file) {
  return std::ranges::equal(file.operator_names(), kOperators);
}

Graph read_graph(const tflite::ModelFile& file) {
  return GraphReader(file).read();
}

}  // namespace predictor::smart_reply
