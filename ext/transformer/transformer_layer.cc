#include "transformer/transformer_layer.h"

#include <ATen/TensorOperators.h>

#include "kernels/activations.h"
#include "transformer/loops.h"

namespace predictor {

namespace {

void add(at::Tensor& x, const at::Tensor& more) {
  if (by_loops(x)) {
    kernels::add(x.mutable_data_ptr<float>(), more.const_data_ptr<float>(), static_cast<size_t>(x.numel()));
  } else {
    x = x + more;
  }
}

// What a part makes of its input, which is x where it has no norm.
template <typename Part>
at::Tensor result_of(const at::Tensor& x, const PartNorms& norms, const Part& part) {
  at::Tensor result = norms.input ? part(norms.input->applied(x)) : part(x);
  if (norms.output) norms.output->apply(result);
  return result;
}

}  // namespace

template <typename Batch>
void TransformerLayer::apply_to(at::Tensor& x, const Batch& batch) const {
  const at::Tensor mixed =
      result_of(x, attention_norms, [&](const at::Tensor& input) { return attention.apply(input, batch); });
  const auto network = [&](const at::Tensor& input) { return feed_forward.apply(input); };
  if (parallel) {
    const at::Tensor more = result_of(x, feed_forward_norms, network);
    add(x, mixed);
    add(x, more);
    return;
  }
  add(x, mixed);
  if (attention_norms.sum) attention_norms.sum->apply(x);
  add(x, result_of(x, feed_forward_norms, network));
  if (feed_forward_norms.sum) feed_forward_norms.sum->apply(x);
}

template void TransformerLayer::apply_to(at::Tensor& x, const TextBatch& batch) const;
template void TransformerLayer::apply_to(at::Tensor& x, const CachedBatch& batch) const;

}  // namespace predictor
