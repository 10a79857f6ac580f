#include "transformer/activation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tanh.h>

#include <algorithm>
#include <map>

#include "kernels/activations.h"
#include "transformer/loops.h"
#include "transformer/threads.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

constexpr int64_t kGrain = 1 << 15;  // numbers that make another thread worth while

void apply(Activation activation, float* x, size_t size) {
  switch (activation) {
    case Activation::identity:
      return;
    case Activation::gelu:
      return kernels::gelu(x, size);
    case Activation::gelu_tanh:
      return kernels::gelu_tanh(x, size);
    case Activation::quick_gelu:
      return kernels::quick_gelu(x, size);
    case Activation::relu:
      return kernels::relu(x, size);
    case Activation::silu:
      return kernels::silu(x, size);
    case Activation::tanh:
      return kernels::tanh(x, size);
    case Activation::sigmoid:
      return kernels::sigmoid(x, size);
  }
}

at::Tensor by_operators(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::identity:
      return x;
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::quick_gelu:
      return x * at::sigmoid(x * 1.702);
    case Activation::relu:
      return at::relu(x);
    case Activation::silu:
      return at::silu(x);
    case Activation::tanh:
      return at::tanh(x);
    case Activation::sigmoid:
      return at::sigmoid(x);
  }
  return x;
}

}  // namespace

Activation activation_named(const std::string& name, const std::string& field) {
  static const std::map<std::string, Activation> names = {
      {"gelu", Activation::gelu},
      {"gelu_python", Activation::gelu},
      {"gelu_new", Activation::gelu_tanh},
      {"gelu_fast", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"quick_gelu", Activation::quick_gelu},
      {"relu", Activation::relu},
      {"silu", Activation::silu},
      {"swish", Activation::silu},
      {"tanh", Activation::tanh},
      {"sigmoid", Activation::sigmoid},
      {"identity", Activation::identity},
      {"linear", Activation::identity},
  };
  const auto found = names.find(name);
  if (found != names.end()) return found->second;
  std::string served;
  for (const auto& [each, activation] : names) served += (served.empty() ? "" : ", ") + each;
  throw ModelError(field + " is \"" + name.substr(0, 80) + "\"; served are " + served);
}

void activate(Activation activation, at::Tensor& x) {
  if (!by_loops(x)) {
    x = by_operators(activation, x);
    return;
  }
  float* const numbers = x.mutable_data_ptr<float>();
  share_out(x.numel(), kGrain,
            [&](int64_t begin, int64_t end) { apply(activation, numbers + begin, static_cast<size_t>(end - begin)); });
}

at::Tensor activate_gated(Activation activation, const at::Tensor& gate_and_up) {
  const int64_t size = gate_and_up.size(1) / 2;
  if (!by_loops(gate_and_up)) {
    return by_operators(activation, gate_and_up.narrow(1, 0, size)) * gate_and_up.narrow(1, size, size);
  }
  at::Tensor out = at::empty({gate_and_up.size(0), size}, at::kFloat);
  const float* const from = gate_and_up.const_data_ptr<float>();
  float* const to = out.mutable_data_ptr<float>();
  share_out(out.size(0), std::max<int64_t>(1, kGrain / size), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      std::copy_n(from + row * 2 * size, size, to + row * size);
      apply(activation, to + row * size, static_cast<size_t>(size));
      kernels::multiply(to + row * size, from + row * 2 * size + size, static_cast<size_t>(size));
    }
  });
  return out;
}

}  // namespace predictor
