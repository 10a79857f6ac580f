#include "smart_reply/operators.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <utility>

#include "smart_reply/fingerprint.h"
#include "smart_reply/predict_operator.h"
#include "smart_reply/projection_operator.h"
#include "smart_reply/text.h"
#include "tflite/operator.h"
#include "tflite/strings.h"

namespace predictor::tflite {

namespace {

thread_local Context* latest_context = nullptr;
thread_local int context_count = 0;

// ---------------------------------------------------------------------------------- Normalize: string -> string[1]

constexpr char kNormalize[] = "Normalize";

void* remember_context(Context* context, const char*, size_t) {
  latest_context = context;
  ++context_count;
  return nullptr;
}

Status prepare_normalize(Context* context, Node* node) {
  if (!has_arity(context, node, kNormalize, 1, 1)) return Status::kError;
  if (tensor(context, node->inputs, 0).type != Type::kString ||
      tensor(context, node->outputs, 0).type != Type::kString) {
    return refuse(context, kNormalize, "input and output must be strings");
  }
  return resize(context, tensor(context, node->outputs, 0), 1);
}

Status run_normalize(Context* context, Node* node) {
  return guarded(context, kNormalize, [&] {
    const Tensor& input = tensor(context, node->inputs, 0);
    if (string_count(input) < 1) return refuse(context, kNormalize, "the input holds no string");
    bool stored = set_string(tensor(context, node->outputs, 0), smart_reply::normalized(string_at(input, 0)));
    return stored ? Status::kOk : refuse(context, kNormalize, "out of memory");
  });
}

// ----------------------------------------------------------------- ExtractFeatures: string[k] -> int32[k], float[k]

constexpr char kExtractFeatures[] = "ExtractFeatures";
constexpr uint64_t kFeatureSpace = 1'000'000;

Status prepare_extract_features(Context* context, Node* node) {
  if (!has_arity(context, node, kExtractFeatures, 1, 2)) return Status::kError;
  Tensor& ids = tensor(context, node->outputs, 0);
  Tensor& weights = tensor(context, node->outputs, 1);
  if (tensor(context, node->inputs, 0).type != Type::kString || ids.type != Type::kInt32 ||
      weights.type != Type::kFloat32) {
    return refuse(context, kExtractFeatures, "must map strings to int32 and float32");
  }
  // SKIP_GRAM does not tell the runtime that its output has another size. Resizing these while they are computed does:
  // what follows is prepared again, and AllocateTensors need not run for every input.
  make_dynamic(ids);
  make_dynamic(weights);
  return Status::kOk;
}

Status run_extract_features(Context* context, Node* node) {
  const Tensor& input = tensor(context, node->inputs, 0);
  Tensor& ids = tensor(context, node->outputs, 0);
  Tensor& weights = tensor(context, node->outputs, 1);
  int count = string_count(input);
  int size = std::max(count, 1);  // an empty tensor would keep the operators behind from running
  if (resize(context, ids, size) != Status::kOk || resize(context, weights, size) != Status::kOk) {
    return Status::kError;
  }
  ids.int32_data[0] = 0;
  weights.float_data[0] = 0;
  for (int i = 0; i < count; ++i) {
    std::string_view ngram = string_at(input, i);
    bool is_frame = ngram == smart_reply::kStart || ngram == smart_reply::kEnd || ngram == "<S> <E>";
    ids.int32_data[i] = is_frame ? 0 : static_cast<int32_t>(smart_reply::fingerprint64(ngram) % kFeatureSpace);
    weights.float_data[i] = is_frame ? 0 : static_cast<float>(1 + std::count(ngram.begin(), ngram.end(), ' '));
  }
  return Status::kOk;
}

// ------------------------------------------------------------------------------ SKIP_GRAM: string -> string[n-grams]

constexpr char kSkipGramName[] = "SKIP_GRAM";
constexpr int kMaxNgramSize = 5;
constexpr int kMaxSkipSize = 10;

// Written once by each registration, always with what the one opened library holds.
std::atomic<Status (*)(Context*, Node*)> stock_prepare_skip_gram;

// The runtime's own takes any options, and with large ones does not end within anybody's patience.
Status prepare_skip_gram(Context* context, Node* node) {
  const auto* options = static_cast<const SkipGramOptions*>(node->builtin_data);
  if (!options || options->ngram_size < 1 || options->ngram_size > kMaxNgramSize || options->max_skip_size < 0 ||
      options->max_skip_size > kMaxSkipSize) {
    return refuse(context, kSkipGramName, "the n-grams must be of 1 to 5 words and skip 0 to 10");
  }
  return stock_prepare_skip_gram.load()(context, node);
}

}  // namespace

Context* take_context() {
  Context* context = std::exchange(latest_context, nullptr);
  return std::exchange(context_count, 0) == 1 ? context : nullptr;
}

void register_operators(Resolver* resolver, bool fast_projection) {
  take_context();  // that of an interpreter which was given up
  const Registration* stock_skip_gram = library().find_builtin(resolver, kSkipGram, 1);
  if (!stock_skip_gram) throw std::runtime_error("the resolver has no SKIP_GRAM");
  stock_prepare_skip_gram = stock_skip_gram->prepare;
  Registration skip_gram = *stock_skip_gram;
  skip_gram.prepare = prepare_skip_gram;
  Registration normalize{};
  normalize.init = remember_context;
  normalize.prepare = prepare_normalize;
  normalize.invoke = run_normalize;
  Registration extract_features{};
  extract_features.prepare = prepare_extract_features;
  extract_features.invoke = run_extract_features;
  Registration predict = predict_registration();
  library().add_custom(resolver, kNormalize, &normalize, 1);
  library().add_custom(resolver, kExtractFeatures, &extract_features, 1);
  library().add_custom(resolver, "Predict", &predict, 1);
  library().add_builtin(resolver, kSkipGram, &skip_gram, 1);
  if (!fast_projection) return;
  Registration projection = projection_registration();
  library().add_builtin(resolver, kLshProjection, &projection, 1);
}

}  // namespace predictor::tflite
