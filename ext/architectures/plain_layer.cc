#include "architectures/plain_layer.h"

#include <ATen/ops/cat.h>

#include <bit>
#include <cmath>

namespace predictor {

namespace {

// Rows [groups, queries + key + value, head_size, ...] to all queries, all keys, all values.
at::Tensor untangled(const at::Tensor& rows, const PlainSizes& sizes) {
  const int64_t queries = sizes.heads / sizes.kv_heads;
  const at::Tensor groups = rows.view({sizes.kv_heads, queries + 2, sizes.head_size, -1});
  const auto part = [&](int64_t first, int64_t count) {
    return groups.narrow(1, first, count).reshape({sizes.kv_heads * count * sizes.head_size, -1});
  };
  return at::cat({part(0, queries), part(queries, 1), part(queries + 1, 1)});
}

}  // namespace

PlainSizes plain_sizes(const Config& config, const PlainFields& fields) {
  config.ignore({"is_decoder"});
  const int64_t hidden = config.size(fields.hidden);
  const int64_t heads = config.size(fields.heads);
  if (hidden % heads != 0) config.refuse(fields.heads, std::string("it must divide ") + fields.hidden);
  const PlainSizes sizes{.layers = config.size(fields.layers),
                         .hidden = hidden,
                         .intermediate = config.size(fields.intermediate, 4 * hidden),
                         .heads = heads,
                         .kv_heads = config.size(fields.kv_heads, heads),
                         .head_size = hidden / heads,
                         .positions = *fields.positions == '\0' ? 0 : config.size(fields.positions),
                         .epsilon = config.number(fields.epsilon, 1e-5),
                         .activation = *fields.activation == '\0'
                                           ? Activation::gelu_tanh
                                           : activation_named(config.text(fields.activation),
                                                              std::string("config.json: ") + fields.activation)};
  if (heads % sizes.kv_heads != 0) config.refuse(fields.kv_heads, std::string("it must divide ") + fields.heads);
  return sizes;
}

kernels::AttentionShape plain_attention(const PlainSizes& sizes) {
  return {.heads = static_cast<size_t>(sizes.heads),
          .kv_heads = static_cast<size_t>(sizes.kv_heads),
          .head_size = static_cast<size_t>(sizes.head_size),
          .scale = 1 / std::sqrt(static_cast<float>(sizes.head_size)),
          .causal = true};
}

std::unique_ptr<Linear> interleaved_qkv(const WeightReader& weights, const std::string& name, const PlainSizes& sizes,
                                        bool biased, const Execution& execution) {
  const int64_t rows = (sizes.heads + 2 * sizes.kv_heads) * sizes.head_size;
  const at::Tensor weight = untangled(weights.tensor(name + ".weight", {rows, sizes.hidden}), sizes);
  at::Tensor bias;
  if (biased) bias = untangled(weights.floats(name + ".bias", {rows}), sizes).view({rows});
  return Linear::make(execution, weight, bias);
}

FeedForward plain_network(const WeightReader& weights, const std::string& up, const std::string& down,
                          const PlainSizes& sizes, bool biased, const Execution& execution) {
  return {.up = Linear::read(weights, up, sizes.hidden, sizes.intermediate, biased, execution),
          .activation = sizes.activation,
          .down = Linear::read(weights, down, sizes.intermediate, sizes.hidden, biased, execution)};
}

std::shared_ptr<const Rotary> partial_rotary(const Config& config, const char* theta_field, const char* share_field,
                                             double share, const PlainSizes& sizes, const Execution& execution) {
  double theta = config.number(theta_field, 10'000);
  share = config.number(share_field, share);
  const std::string field = config.any_of({"rope_parameters", "rope_scaling"});
  std::optional<Config> scaling;
  if (config.has(field)) {
    scaling = config.object(field);
    theta = scaling->number("rope_theta", theta);
    share = scaling->number("partial_rotary_factor", share);
  }
  const auto rotated = static_cast<int64_t>(static_cast<double>(sizes.head_size) * share);
  if (rotated < 2 || rotated % 2 != 0 || rotated > sizes.head_size) {
    config.refuse(share_field, "an even number of each head's numbers must turn");
  }
  if (!scaling) return std::make_shared<Rotary>(theta, rotated, execution);
  return std::make_shared<Rotary>(theta, rotated, *scaling, sizes.positions, execution);
}

std::vector<float> alibi_slopes(int64_t heads) {
  // the powers of 2^(-8/n) for the greatest power of two n of heads, and between them for what is left
  const auto closest = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  std::vector<float> slopes;
  for (int64_t i = 1; i <= closest; ++i) {
    slopes.push_back(static_cast<float>(std::pow(2.0, -8.0 * static_cast<double>(i) / static_cast<double>(closest))));
  }
  for (int64_t i = 1; static_cast<int64_t>(slopes.size()) < heads; i += 2) {
    slopes.push_back(static_cast<float>(std::pow(2.0, -4.0 * static_cast<double>(i) / static_cast<double>(closest))));
  }
  return slopes;
}

}  // namespace predictor
