// Smart Reply's three custom operators for tflite-runtime, straightforward: Normalize by the published patterns,
// compiled at every call, by std::regex; Predict by std::map. What ours is compared with, for speed and to the last
// digit; compiled once where only the digits count. A Python module of one function, register_operators.
#include <dlfcn.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "smart_reply/fingerprint.h"
#include "tflite_abi.h"

namespace py = pybind11;

namespace stock {

namespace {

struct Resolver;  // tflite::MutableOpResolver

struct Library {
  IntArray* (*int_array_create)(int size);
  void (*tensor_realloc)(size_t bytes, Tensor*);
  void (*add_custom)(Resolver*, const char* name, const Registration*, int version);
};
Library library;

template <typename Function>
void look_up(void* handle, const char* symbol, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, symbol));
  if (!function) throw std::runtime_error("tflite-runtime's library does not export " + std::string(symbol));
}

void open_library() {
  const auto version = py::module_::import("tflite_runtime").attr("__version__").cast<std::string>();
  if (version != kSupportedVersion) throw py::import_error("expected tflite-runtime 2.14.0, got " + version);
  const auto binary = py::module_::import("tflite_runtime._pywrap_tensorflow_interpreter_wrapper");
  void* handle = dlopen(binary.attr("__file__").cast<std::string>().c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (!handle) throw py::import_error("tflite-runtime's library is not loaded");
  look_up(handle, "TfLiteIntArrayCreate", library.int_array_create);
  look_up(handle, "TfLiteTensorRealloc", library.tensor_realloc);
  look_up(handle, "_ZN6tflite17MutableOpResolver9AddCustomEPKcPK18TfLiteRegistrationi", library.add_custom);
}

// ------------------------------------------------------------------------------------------------------------- tensors

Tensor& input(Context* context, const Node* node, int position) {
  return context->tensors[node->inputs->data[position]];
}
Tensor& output(Context* context, const Node* node, int position) {
  return context->tensors[node->outputs->data[position]];
}

Status resize(Context* context, Tensor& tensor, int size) {
  IntArray* shape = library.int_array_create(1);
  shape->data[0] = size;
  return context->resize_tensor(context, &tensor, shape);
}

// A tensor whose size is known only when the operator runs.
void make_dynamic(Tensor& tensor) {
  if (tensor.allocation == Allocation::kDynamic) return;
  tensor.allocation = Allocation::kDynamic;
  tensor.data = nullptr;
  tensor.bytes = 0;
}

// Strings: int32 count, int32 offset[count + 1] from the start of the buffer, then the bytes.
int32_t number(const Tensor& tensor, int index) {
  int32_t value;
  std::memcpy(&value, tensor.bytes_data + static_cast<size_t>(index) * sizeof(value), sizeof(value));
  return value;
}

int string_count(const Tensor& tensor) {
  return tensor.data && tensor.bytes >= sizeof(int32_t) ? number(tensor, 0) : 0;
}

std::string string_at(const Tensor& tensor, int index) {
  const int32_t begin = number(tensor, index + 1), end = number(tensor, index + 2);
  return {tensor.bytes_data + begin, static_cast<size_t>(end - begin)};
}

void set_string(Tensor& tensor, const std::string& text) {
  const int32_t header[] = {1, 3 * sizeof(int32_t), static_cast<int32_t>(3 * sizeof(int32_t) + text.size())};
  library.tensor_realloc(sizeof(header) + text.size(), &tensor);
  std::memcpy(tensor.data, header, sizeof(header));
  std::memcpy(tensor.bytes_data + sizeof(header), text.data(), text.size());
}

// ----------------------------------------------------------------------------------------------------------- Normalize

struct Rule {
  std::regex pattern;
  const char* replacement;
};

// White space is that of RE2, which the patterns were written for: without the vertical tab, but not where they strip.
std::vector<Rule> compiled_rules() {
  const std::pair<const char*, const char*> kRules[] = {
      {"^\\s+|\\s+$", ""},
      {"[.*()\"]", ""},
      {"[ \t\n\f\r]('t|'nt|n't|'d|'ll|'s|'m|'ve|'re)([ \t\n\f\r,;:/])", "$1$2"},
      {"[ \t\n\f\r]('t|'nt|n't|'d|'ll|'s|'m|'ve|'re)$", "$1"},
      {"([^ \t\n\f\r]+)'ll", "$1 will"},
      {"([^ \t\n\f\r]+)'nt", "$1 not"},
      {"([^ \t\n\f\r]+)'re", "$1 are"},
      {"([^ \t\n\f\r]+)'ve", "$1 have"},
      {"([^ \t\n\f\r]+)n't", "$1 not"},
      {"i'm", "i am"},
      {"([?])+", "$1"},
      {"([!])+", "$1"},
      {"([^?!]+)([?!])", "$1 $2 "},
      {"([?!])([?!])", "$1 $2"},
      {"[ \t\n\f\r,:;\\-&'\"]+$", ""},
      {"^[ \t\n\f\r,:;\\-&'\"]+", ""},
      {"^\\s+|\\s+$", ""},
  };
  std::vector<Rule> rules;
  for (const auto& [pattern, replacement] : kRules) rules.push_back({std::regex(pattern), replacement});
  return rules;
}

std::string normalized(std::string text, const std::vector<Rule>& rules) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const Rule& rule : rules) text = std::regex_replace(text, rule.pattern, rule.replacement);
  return text.size() <= 300 ? "<S> " + text + " <E>" : "<S> " + text.substr(0, 300);
}

Status prepare_normalize(Context* context, Node* node) {
  return resize(context, output(context, node, 0), 1);
}

Status run_normalize(Context* context, Node* node) {
  set_string(output(context, node, 0), normalized(string_at(input(context, node, 0), 0), compiled_rules()));
  return Status::kOk;
}

Status run_normalize_compiled_once(Context* context, Node* node) {
  static const std::vector<Rule> kRules = compiled_rules();
  set_string(output(context, node, 0), normalized(string_at(input(context, node, 0), 0), kRules));
  return Status::kOk;
}

// ----------------------------------------------------------------------------------------------------- ExtractFeatures

Status prepare_extract_features(Context* context, Node* node) {
  // SKIP_GRAM does not tell the runtime that its output has another size. Resizing these while they are computed does:
  // what follows is prepared again.
  make_dynamic(output(context, node, 0));
  make_dynamic(output(context, node, 1));
  return Status::kOk;
}

Status run_extract_features(Context* context, Node* node) {
  const Tensor& ngrams = input(context, node, 0);
  Tensor& ids = output(context, node, 0);
  Tensor& weights = output(context, node, 1);
  const int count = string_count(ngrams), size = std::max(count, 1);
  if (resize(context, ids, size) != Status::kOk || resize(context, weights, size) != Status::kOk) {
    return Status::kError;
  }
  ids.int32_data[0] = 0;
  weights.float_data[0] = 0;
  for (int i = 0; i < count; ++i) {
    const std::string ngram = string_at(ngrams, i);
    const bool frame = ngram == "<S>" || ngram == "<E>" || ngram == "<S> <E>";
    ids.int32_data[i] = frame ? 0 : static_cast<int32_t>(predictor::smart_reply::fingerprint64(ngram) % 1'000'000);
    weights.float_data[i] = frame ? 0 : static_cast<float>(1 + std::count(ngram.begin(), ngram.end(), ' '));
  }
  return Status::kOk;
}

// ------------------------------------------------------------------------------------------------------------- Predict

struct PredictOptions {
  int32_t output_count;
  float threshold;
};

void* init_predict(Context*, const char* options, size_t length) {
  auto* read = new PredictOptions{};
  std::memcpy(read, options, std::min(length, sizeof(*read)));
  return read;
}

void free_predict(Context*, void* options) {
  delete static_cast<PredictOptions*>(options);
}

Status prepare_predict(Context* context, Node* node) {
  const int count = static_cast<PredictOptions*>(node->user_data)->output_count;
  const Status status = resize(context, output(context, node, 0), count);
  return status == Status::kOk ? resize(context, output(context, node, 1), count) : status;
}

Status run_predict(Context* context, Node* node) {
  const auto* options = static_cast<PredictOptions*>(node->user_data);
  const Tensor& signatures = input(context, node, 0);
  const Tensor& keys = input(context, node, 1);
  const Tensor& labels = input(context, node, 2);
  const Tensor& weights = input(context, node, 3);
  const int32_t* end = keys.int32_data + keys.dims->data[0];
  const int count = signatures.dims->data[0], width = labels.dims->data[1];
  std::map<int32_t, float> sums;
  for (int i = 0; i < count; ++i) {
    const int32_t* found = std::lower_bound<const int32_t*>(keys.int32_data, end, signatures.int32_data[i]);
    if (found == end || *found != signatures.int32_data[i]) continue;
    for (int j = 0; j < width; ++j) {
      const ptrdiff_t at = (found - keys.int32_data) * width + j;
      sums[labels.int32_data[at]] += weights.float_data[at] / static_cast<float>(count);
    }
  }
  std::vector<std::pair<int32_t, float>> best(sums.begin(), sums.end());
  std::stable_sort(best.begin(), best.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  for (int i = 0; i < options->output_count; ++i) {
    const bool there =
        static_cast<size_t>(i) < best.size() && best[static_cast<size_t>(i)].second >= options->threshold;
    output(context, node, 0).int32_data[i] = there ? best[static_cast<size_t>(i)].first : -1;
    output(context, node, 1).float_data[i] = there ? best[static_cast<size_t>(i)].second : 0;
  }
  return Status::kOk;
}

void register_operators(std::uintptr_t address, bool compile_once) {
  auto* resolver = reinterpret_cast<Resolver*>(address);
  Registration normalize{}, extract_features{}, predict{};
  normalize.prepare = prepare_normalize;
  normalize.invoke = compile_once ? run_normalize_compiled_once : run_normalize;
  extract_features.prepare = prepare_extract_features;
  extract_features.invoke = run_extract_features;
  predict.init = init_predict;
  predict.free = free_predict;
  predict.prepare = prepare_predict;
  predict.invoke = run_predict;
  library.add_custom(resolver, "Normalize", &normalize, 1);
  library.add_custom(resolver, "ExtractFeatures", &extract_features, 1);
  library.add_custom(resolver, "Predict", &predict, 1);
}

}  // namespace

}  // namespace stock

PYBIND11_MODULE(stock_operators, module) {
  module.doc() = "Straightforward operators of Smart Reply for tflite-runtime";
  stock::open_library();
  module.def("register_operators", &stock::register_operators, py::arg("resolver"), py::arg("compile_once"));
}
