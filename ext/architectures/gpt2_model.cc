#include "architectures/gpt2_model.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "architectures/gpt2_on_device.h"
#include "architectures/gpt2_on_processor.h"
#include "architectures/gpt2_weights.h"
#include "kernels/packed_gemm.h"
#include "transformer/device.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

Precision to_precision(const std::string& name) {
  if (name == "float32") return Precision::float32;
  if (name == "bfloat16") return Precision::bfloat16;
  if (name == "int8") return Precision::int8;
  throw ModelError("precision is '" + name + "'; it must be float32, bfloat16 or int8");
}

void check(const Gpt2Config& config, uint32_t slots, Precision precision) {
  const auto require = [](bool right, const char* message) {
    if (!right) throw ModelError(message);
  };
  const uint32_t most = 1 << 20;
  for (const uint32_t size : {config.layers, config.heads, config.hidden_size, config.intermediate_size, config.context,
                              config.vocabulary, slots}) {
    require(size >= 1 && size <= most, "every size in the configuration must be 1 to 1048576");
  }
  for (const auto& [name, size] :
       {std::pair("hidden_size", config.hidden_size), std::pair("intermediate_size", config.intermediate_size)}) {
    if (precision != Precision::int8 || size <= kernels::PackedMatrix::kMaxInt8Inputs) continue;
    throw ModelError("the configuration's " + std::string(name) + " is " + std::to_string(size) + "; in int8 " +
                     std::to_string(kernels::PackedMatrix::kMaxInt8Inputs) + " is the most whose sums fit 32 bits");
  }
  require(config.hidden_size % config.heads == 0, "the hidden_size must be a multiple of the number of heads");
  require(config.epsilon > 0, "layer_norm_epsilon must be over 0");
}

std::unique_ptr<Gpt2Model> load(const Gpt2Config& config, const Gpt2Weights& weights, uint32_t slots,
                                Precision precision, const Gpt2Execution& execution) {
  Device device(execution.device);
  if (device.is_processor() && !execution.by_operators) {
    return std::make_unique<Gpt2OnProcessor>(config, weights, precision, slots);
  }
  return std::make_unique<Gpt2OnDevice>(config, weights, precision, std::move(device), slots);
}

// So that damaged weights are found now, and not by whoever asks first.
void require_finite_logits(Gpt2Model& model) {
  const Gpt2Model::Row first{};
  const uint32_t logit_rows = 0;
  const std::span<const float> logits = model.forward({&first, 1}, {&logit_rows, 1});
  if (!std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); })) {
    throw ModelError("the model gives numbers that are not finite; its weights may be damaged");
  }
}

}  // namespace

std::unique_ptr<Gpt2Model> Gpt2Model::make(const Gpt2Config& config, const Weights& weights, uint32_t slots,
                                           const Gpt2Execution& execution) {
  const Precision precision = to_precision(execution.precision);
  check(config, slots, precision);
  const Gpt2Weights checked(config, weights, precision);
  const c10::InferenceMode inference;
  try {
    std::unique_ptr<Gpt2Model> model = load(config, checked, slots, precision, execution);
    require_finite_logits(*model);
    return model;
  } catch (const c10::Error& error) {
    throw ModelError("the model cannot be loaded: " + reason(error));  // no memory left, say
  }
}

}  // namespace predictor
