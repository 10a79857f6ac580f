#include "gpt2_model.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "lanes.h"
#include "linear.h"
#include "row_math.h"

namespace predictor {

namespace {

using Shape = std::vector<int64_t>;

std::string text(const Shape& shape) {
  std::string joined;
  for (const int64_t size : shape) joined += (joined.empty() ? "[" : ", ") + std::to_string(size);
  return joined.empty() ? "[]" : joined + "]";
}

Precision to_precision(const std::string& name) {
  if (name == "float32") return Precision::float32;
  if (name == "bfloat16") return Precision::bfloat16;
  if (name == "int8") return Precision::int8;
  throw WeightError("precision is '" + name + "'; it must be float32, bfloat16 or int8");
}

// Takes tensors out of the named weights, and checks them.
class Reader {
 public:
  Reader(const Weights& weights, Precision precision) : weights_(weights), precision_(precision) {}

  bool has(const std::string& name) const { return weights_.contains(name); }

  at::Tensor floats(const std::string& name, const Shape& shape) const {
    return read(name, shape, false).to(at::kFloat).contiguous();
  }

  std::unique_ptr<Linear> linear(const std::string& name, int64_t in, int64_t out, bool biased) const {
    const bool whole = precision_ == Precision::int8;
    at::Tensor weight = read(name + ".weight", {in, out}, whole);
    at::Tensor scales = whole ? floats(name + ".weight_scale", {out}) : at::Tensor();
    at::Tensor bias = biased ? floats(name + ".bias", {out}) : at::Tensor();
    return Linear::make(precision_, std::move(weight), std::move(scales), std::move(bias));
  }

 private:
  at::Tensor read(const std::string& name, const Shape& shape, bool whole) const {
    const auto found = weights_.find(name);
    if (found == weights_.end()) throw WeightError("there is no weight " + name);
    const Weight& weight = found->second;
    if (weight.shape != shape) {
      throw WeightError("weight " + name + " is of shape " + text(weight.shape) + "; the configuration asks for " +
                        text(shape));
    }
    const std::optional<at::ScalarType> type = scalar_type(weight.dtype);
    if (!type || (*type == at::kChar) != whole) {
      throw WeightError("weight " + name + " is of type " + weight.dtype + "; " +
                        (whole ? "I8 is wanted" : "F32, F16 or BF16 is wanted"));
    }
    at::Tensor tensor = at::empty(shape, *type);
    if (tensor.nbytes() != weight.bytes.size()) throw WeightError("weight " + name + " is cut short");
    std::memcpy(tensor.mutable_data_ptr(), weight.bytes.data(), weight.bytes.size());
    return tensor;
  }

  static std::optional<at::ScalarType> scalar_type(const std::string& dtype) {
    if (dtype == "F32") return at::kFloat;
    if (dtype == "F16") return at::kHalf;
    if (dtype == "BF16") return at::kBFloat16;
    if (dtype == "I8") return at::kChar;
    return std::nullopt;
  }

  const Weights& weights_;
  const Precision precision_;
};

struct Norm {
  at::Tensor gain;
  at::Tensor shift;
};

struct Layer {
  Norm before_attention;
  std::unique_ptr<Linear> queries_keys_values;
  std::unique_ptr<Linear> attended;
  Norm before_network;
  std::unique_ptr<Linear> widen;
  std::unique_ptr<Linear> narrow;
};

void check(const Gpt2Config& config, uint32_t slots) {
  const auto require = [](bool right, const char* message) {
    if (!right) throw WeightError(message);
  };
  const uint32_t most = 1 << 20;
  for (const uint32_t size :
       {config.layers, config.heads, config.width, config.inner, config.context, config.vocabulary, slots}) {
    require(size >= 1 && size <= most, "every size in the configuration must be 1 to 1048576");
  }
  require(config.width % config.heads == 0, "the width must be a multiple of the number of heads");
  require(config.epsilon > 0, "layer_norm_epsilon must be over 0");
}

}  // namespace

struct Gpt2Model::Parts {
  at::Tensor tokens;     // [vocabulary, width]
  at::Tensor positions;  // [context, width]
  std::vector<Layer> layers;
  Norm last;
  std::unique_ptr<Linear> output;
  at::Tensor cache;   // [layers, keys and values, slots, heads, context, head's width in whole lanes]
  at::Tensor logits;  // of the last call
  std::vector<float> scratch;
  uint32_t rows = 2;  // of a product, at least: the library takes another way for one alone
};

Gpt2Model::Gpt2Model(const Gpt2Config& config, const Weights& weights, const std::string& precision, uint32_t slots)
    : config_((check(config, slots), config)), slots_(slots), parts_(std::make_unique<Parts>()) {
  const c10::InferenceMode inference;
  const Reader reader(weights, to_precision(precision));
  const int64_t width = config.width;
  const int64_t inner = config.inner;
  const auto norm = [&](const std::string& name) {
    return Norm{reader.floats(name + ".weight", {width}), reader.floats(name + ".bias", {width})};
  };
  Parts& parts = *parts_;
  parts.tokens = reader.floats("wte.weight", {config.vocabulary, width});
  parts.positions = reader.floats("wpe.weight", {config.context, width});
  for (uint32_t i = 0; i < config.layers; ++i) {
    const std::string name = "h." + std::to_string(i);
    parts.layers.push_back({norm(name + ".ln_1"), reader.linear(name + ".attn.c_attn", width, 3 * width, true),
                            reader.linear(name + ".attn.c_proj", width, width, true), norm(name + ".ln_2"),
                            reader.linear(name + ".mlp.c_fc", width, inner, true),
                            reader.linear(name + ".mlp.c_proj", inner, width, true)});
  }
  parts.last = norm("ln_f");
  if (reader.has("lm_head.weight")) {
    parts.output = reader.linear("lm_head", width, config.vocabulary, false);
  } else {
    parts.output = Linear::make(to_precision(precision), parts.tokens.t().contiguous(), {}, {});
  }
  const auto stride = static_cast<int64_t>(padded_to_lanes(config.width / config.heads));
  parts.cache = at::empty({config.layers, 2, slots, config.heads, config.context, stride}, at::kFloat);
  parts.scratch.resize(padded_to_lanes(config.context) + static_cast<size_t>(stride));
  const Layer& layer = parts.layers[0];
  const int64_t most = std::max(slots, 2u);
  for (const Linear* linear : {layer.queries_keys_values.get(), layer.attended.get(), layer.widen.get(),
                               layer.narrow.get(), parts.output.get()}) {
    if (!linear->is_row_invariant(most)) parts.rows = static_cast<uint32_t>(most);
  }
}

Gpt2Model::~Gpt2Model() = default;

bool Gpt2Model::fixed_rows() const {
  return parts_->rows > 2;
}

void Gpt2Model::set_threads(int threads) {
  at::set_num_threads(threads);
}

std::span<float> Gpt2Model::read(std::span<const Row> rows, std::span<const uint32_t> wanted) {
  const c10::InferenceMode inference;
  Parts& parts = *parts_;
  const size_t width = config_.width;
  const size_t head_width = config_.width / config_.heads;
  const auto padded = [&](size_t count) { return static_cast<int64_t>(std::max<size_t>(count, parts.rows)); };
  const auto matrix = [&](int64_t count, size_t columns) {
    return at::empty({count, static_cast<int64_t>(columns)}, at::kFloat).zero_();
  };
  at::Tensor x = matrix(padded(rows.size()), width);
  at::Tensor h = matrix(x.size(0), width);
  float* const xs = x.mutable_data_ptr<float>();
  float* const hs = h.mutable_data_ptr<float>();
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(parts.tokens.const_data_ptr<float>() + rows[i].token * width, width, xs + i * width);
    add(xs + i * width, parts.positions.const_data_ptr<float>() + rows[i].position * width, width);
  }
  const auto normed = [&](const Norm& norm) {
    for (size_t i = 0; i < rows.size(); ++i) {
      layer_norm(xs + i * width, norm.gain.const_data_ptr<float>(), norm.shift.const_data_ptr<float>(), config_.epsilon,
                 width, hs + i * width);
    }
  };
  const auto add_to_x = [&](const at::Tensor& more) { add(xs, more.const_data_ptr<float>(), rows.size() * width); };
  const size_t of_slot = config_.heads * config_.context * padded_to_lanes(head_width);
  for (size_t number = 0; number < parts.layers.size(); ++number) {
    const Layer& layer = parts.layers[number];
    float* const keys = parts.cache.mutable_data_ptr<float>() + 2 * number * slots_ * of_slot;
    const auto cache_of = [&](uint32_t slot) {
      return AttentionCache{keys + slot * of_slot, keys + (slots_ + slot) * of_slot, config_.context};
    };
    normed(layer.before_attention);
    const at::Tensor qkv = layer.queries_keys_values->apply(h);
    const float* const q = qkv.const_data_ptr<float>();
    for (size_t i = 0; i < rows.size(); ++i) {
      const float* const row = q + i * 3 * width;
      remember(cache_of(rows[i].slot), rows[i].position, config_.heads, head_width, row + width, row + 2 * width);
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      attend(cache_of(rows[i].slot), rows[i].position, config_.heads, head_width, q + i * 3 * width,
             parts.scratch.data(), hs + i * width);
    }
    add_to_x(layer.attended->apply(h));
    normed(layer.before_network);
    at::Tensor wide = layer.widen->apply(h);
    gelu(wide.mutable_data_ptr<float>(), rows.size() * config_.inner);
    add_to_x(layer.narrow->apply(wide));
  }
  if (wanted.empty()) return {};
  at::Tensor last = matrix(padded(wanted.size()), width);
  for (size_t i = 0; i < wanted.size(); ++i) {
    layer_norm(xs + wanted[i] * width, parts.last.gain.const_data_ptr<float>(),
               parts.last.shift.const_data_ptr<float>(), config_.epsilon, width,
               last.mutable_data_ptr<float>() + i * width);
  }
  parts.logits = parts.output->apply(last);
  return {parts.logits.mutable_data_ptr<float>(), wanted.size() * config_.vocabulary};
}

}  // namespace predictor
