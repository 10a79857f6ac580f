#include "smart_reply/predict_operator.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "tflite/operator.h"

namespace predictor::tflite {

namespace {

constexpr char kPredict[] = "Predict";
constexpr int kMaxOutputs = 10'000;

struct Candidate {
  int32_t label;
  float weight;
};

// Sums weights by label: open addressing, with one slot in two empty at least.
class Tally {
 public:
  void clear(size_t most_labels) {
    slots_.assign(std::bit_ceil(2 * most_labels + 1), kEmpty);
    sums_.clear();
  }

  void add(int32_t label, float weight) {
    size_t mask = slots_.size() - 1;
    size_t slot = (static_cast<uint32_t>(label) * 0x9e3779b1u) & mask;
    while (slots_[slot] != kEmpty && sums_[slots_[slot]].label != label) slot = (slot + 1) & mask;
    if (slots_[slot] == kEmpty) {
      slots_[slot] = static_cast<uint32_t>(sums_.size());
      sums_.push_back({label, 0});
    }
    sums_[slots_[slot]].weight += weight;
  }

  std::vector<Candidate>& sums() { return sums_; }

 private:
  static constexpr uint32_t kEmpty = UINT32_MAX;
  std::vector<uint32_t> slots_;  // positions in sums_
  std::vector<Candidate> sums_;
};

struct Predict {
  int32_t output_count;
  float threshold;
  const void* checked_keys = nullptr;  // the table that was checked: constants stay where they are
  Tally tally;
};

void* init(Context* context, const char* options, size_t length) {
  if (!options || length != 8) {
    refuse(context, kPredict, "the custom options must be 8 bytes, int32 number of outputs and float32 threshold");
    return nullptr;
  }
  auto predict = std::unique_ptr<Predict>(new (std::nothrow) Predict{});
  if (!predict) return nullptr;
  std::memcpy(&predict->output_count, options, 4);
  std::memcpy(&predict->threshold, options + 4, 4);
  return predict.release();
}

void free_predict(Context*, void* user_data) {
  delete static_cast<Predict*>(user_data);
}

const char* shape_fault(const Tensor& signatures, const Tensor& keys, const Tensor& labels, const Tensor& weights) {
  if (!has_shape(signatures, Type::kInt32, 1)) return "the signatures must be int32[n]";
  if (!has_shape(keys, Type::kInt32, 1)) return "the keys must be int32[m]";
  if (!has_shape(labels, Type::kInt32, 2)) return "the labels must be int32[m, j]";
  if (!has_shape(weights, Type::kFloat32, 2)) return "the weights must be float32[m, j]";
  if (labels.dims->data[0] != keys.dims->data[0]) return "there must be as many rows of labels as keys";
  if (!std::equal(labels.dims->data, labels.dims->data + 2, weights.dims->data)) {
    return "labels and weights must have the same shape";
  }
  return nullptr;
}

const char* table_fault(const Tensor& keys, const Tensor& labels, const Tensor& weights) {
  for (const Tensor* table : {&keys, &labels, &weights}) {
    if (table->allocation != Allocation::kReadOnly || !is_full(*table)) {
      return "keys, labels and weights must be constants with as many bytes as their shapes say";
    }
  }
  size_t row_count = static_cast<size_t>(keys.dims->data[0]);
  if (!std::is_sorted(keys.int32_data, keys.int32_data + row_count)) return "the keys are not sorted";
  size_t weight_count = row_count * static_cast<size_t>(weights.dims->data[1]);
  if (!std::all_of(weights.float_data, weights.float_data + weight_count, [](float w) { return std::isfinite(w); })) {
    return "the weights must be finite";
  }
  return nullptr;
}

Status prepare(Context* context, Node* node) {
  if (!has_arity(context, node, kPredict, 4, 2)) return Status::kError;
  auto* predict = static_cast<Predict*>(node->user_data);
  if (!predict) return refuse(context, kPredict, "the custom options were refused");
  if (predict->output_count < 1 || predict->output_count > kMaxOutputs || !std::isfinite(predict->threshold)) {
    return refuse(context, kPredict, "the number of outputs must be 1 to 10,000 and the threshold finite");
  }
  const Tensor& keys = tensor(context, node->inputs, 1);
  const Tensor& labels = tensor(context, node->inputs, 2);
  const Tensor& weights = tensor(context, node->inputs, 3);
  const char* fault = shape_fault(tensor(context, node->inputs, 0), keys, labels, weights);
  if (!fault && predict->checked_keys != keys.data) fault = table_fault(keys, labels, weights);
  if (fault) return refuse(context, kPredict, fault);
  predict->checked_keys = keys.data;
  Tensor& best_labels = tensor(context, node->outputs, 0);
  Tensor& best_weights = tensor(context, node->outputs, 1);
  if (best_labels.type != Type::kInt32 || best_weights.type != Type::kFloat32) {
    return refuse(context, kPredict, "the outputs must be int32 and float32");
  }
  Status status = resize(context, best_labels, predict->output_count);
  return status == Status::kOk ? resize(context, best_weights, predict->output_count) : status;
}

void add_row(Tally& tally, const Tensor& labels, const Tensor& weights, size_t row, float signature_count) {
  size_t width = static_cast<size_t>(labels.dims->data[1]);
  for (size_t i = row * width; i < (row + 1) * width; ++i) {
    tally.add(labels.int32_data[i], weights.float_data[i] / signature_count);
  }
}

Status run(Context* context, Node* node) {
  return guarded(context, kPredict, [&] {
    auto* predict = static_cast<Predict*>(node->user_data);
    const Tensor& signatures = tensor(context, node->inputs, 0);
    const Tensor& key_table = tensor(context, node->inputs, 1);
    const Tensor& labels = tensor(context, node->inputs, 2);
    const Tensor& weights = tensor(context, node->inputs, 3);
    std::span keys(key_table.int32_data, static_cast<size_t>(key_table.dims->data[0]));
    std::span wanted(signatures.int32_data, static_cast<size_t>(signatures.dims->data[0]));

    predict->tally.clear(wanted.size() * static_cast<size_t>(labels.dims->data[1]));
    for (int32_t signature : wanted) {
      auto found = std::lower_bound(keys.begin(), keys.end(), signature);
      if (found == keys.end() || *found != signature) continue;
      add_row(predict->tally, labels, weights, static_cast<size_t>(found - keys.begin()),
              static_cast<float>(wanted.size()));
    }

    auto& sums = predict->tally.sums();
    std::erase_if(sums, [&](const Candidate& c) { return !(c.weight >= predict->threshold); });
    size_t count = std::min(sums.size(), static_cast<size_t>(predict->output_count));
    std::partial_sort(sums.begin(), sums.begin() + static_cast<ptrdiff_t>(count), sums.end(),
                      [](const Candidate& a, const Candidate& b) {
                        return a.weight != b.weight ? a.weight > b.weight : a.label < b.label;
                      });
    sums.resize(static_cast<size_t>(predict->output_count), {-1, 0});
    int32_t* best_labels = tensor(context, node->outputs, 0).int32_data;
    float* best_weights = tensor(context, node->outputs, 1).float_data;
    for (size_t i = 0; i < sums.size(); ++i) {
      best_labels[i] = i < count ? sums[i].label : -1;
      best_weights[i] = i < count ? sums[i].weight : 0;
    }
    return Status::kOk;
  });
}

}  // namespace

Registration predict_registration() {
  Registration registration{};
  registration.init = init;
  registration.free = free_predict;
  registration.prepare = prepare;
  registration.invoke = run;
  return registration;
}

}  // namespace predictor::tflite
