#include "transformer/encoder_layer.h"

#include <ATen/TensorOperators.h>

#include "kernels/activations.h"

namespace predictor {

namespace {

template <typename Part>
void add_part(at::Tensor& x, const PartNorms& norms, const Part& part) {
  at::Tensor more = norms.input ? part(norms.input->applied(x)) : part(x);
  if (norms.output) norms.output->apply(more);
  if (x.is_cpu()) {
    kernels::add(x.mutable_data_ptr<float>(), more.const_data_ptr<float>(), static_cast<size_t>(x.numel()));
  } else {
    x = x + more;
  }
  if (norms.sum) norms.sum->apply(x);
}

}  // namespace

void EncoderLayer::apply(at::Tensor& x, const TextBatch& batch) const {
  add_part(x, attention_norms, [&](const at::Tensor& input) { return attention.apply(input, batch); });
  add_part(x, feed_forward_norms, [&](const at::Tensor& input) { return feed_forward.apply(input); });
}

}  // namespace predictor
