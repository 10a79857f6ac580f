// The functions between two products, by the names that configurations give them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace predictor {

enum class Activation { identity, gelu, gelu_tanh, quick_gelu, relu, silu, tanh, sigmoid };

// Throws ModelError for a name that is not served; `field` is where it stands.
Activation activation_named(const std::string& name, const std::string& field);

// x = f(x), of any shape: float32 on the processor, any floats on a card.
void activate(Activation activation, at::Tensor& x);
// x = f(gate) * up of rows [gate, up]: [rows, 2 * size] -> [rows, size].
at::Tensor activate_gated(Activation activation, const at::Tensor& gate_and_up);

}  // namespace predictor
