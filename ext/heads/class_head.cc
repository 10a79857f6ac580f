#include "heads/class_head.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "heads/pooling.h"

namespace predictor {

namespace {

// The place of the last token that is no padding; 0 where there is none.
int64_t last_place(const int32_t* ids, int64_t length, const std::optional<int64_t>& padding) {
  int64_t place = length - 1;
  while (place > 0 && ids[place] == padding) --place;
  return place;
}

// What of each text goes into the head: [texts, hidden_size].
at::Tensor selected(ClassHead::Input input, const std::optional<int64_t>& padding, const at::Tensor& hidden,
                    const TextBatch& batch) {
  const int64_t size = hidden.size(1);
  at::Tensor rows = at::empty({static_cast<int64_t>(batch.lengths.size()), size}, at::kFloat);
  const float* from = hidden.const_data_ptr<float>();
  float* to = rows.mutable_data_ptr<float>();
  const int32_t* ids = batch.ids.const_data_ptr<int32_t>();
  for (const int64_t length : batch.lengths) {
    if (input == ClassHead::Input::mean) {
      pool(Pooling::mean, from, length, size, to);
    } else {
      const int64_t place = input == ClassHead::Input::last ? last_place(ids, length, padding) : 0;
      std::copy_n(from + place * size, size, to);
    }
    ids += length;
    from += length * size;
    to += size;
  }
  return rows;
}

}  // namespace

ClassesHead::ClassesHead(const ClassHead& description, int64_t labels, bool of_tokens, int64_t hidden_size,
                         const WeightReader& weights)
    : input_(description.input), padding_(description.padding), labels_(labels), of_tokens_(of_tokens) {
  const Execution execution = head_execution();
  for (const HeadLayer& layer : description.layers)
    layers_.emplace_back(layer, hidden_size, hidden_size, weights, execution);
  out_ = Linear::read(weights, description.out, hidden_size, labels, description.biased, execution);
}

std::vector<Vector> ClassesHead::apply(const at::Tensor& hidden, const TextBatch& batch) const {
  at::Tensor x = of_tokens_ ? hidden : selected(input_, padding_, hidden, batch);
  for (const HeadPart& layer : layers_) x = layer.apply(x);
  const at::Tensor scores = out_->apply(x);
  const float* row = scores.const_data_ptr<float>();
  std::vector<Vector> answers;
  for (const int64_t length : batch.lengths) {
    const int64_t size = (of_tokens_ ? length : 1) * labels_;
    answers.emplace_back(row, row + size);
    row += size;
  }
  return answers;
}

}  // namespace predictor
