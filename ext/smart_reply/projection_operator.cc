#include "smart_reply/projection_operator.h"

#include <bit>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "smart_reply/fingerprint.h"
#include "smart_reply/projection.h"
#include "tflite/operator.h"

namespace predictor::tflite {

namespace {

constexpr char kProjection[] = "LSH_PROJECTION";

struct Projection {
  smart_reply::ProjectionKernel kernel = smart_reply::projection_kernel(smart_reply::best_instructions());
  std::vector<uint32_t> seeds;  // the bits of the floats
  std::vector<int32_t> ids;
  std::vector<float> weights;
  std::vector<double> sums;
};

void* init(Context*, const char*, size_t) {
  return new (std::nothrow) Projection;
}
void free_projection(Context*, void* user_data) {
  delete static_cast<Projection*>(user_data);
}

bool is_sparse(const Node* node) {
  return static_cast<const LshProjectionOptions*>(node->builtin_data)->kind == LshProjectionOptions::Kind::kSparse;
}

const char* fault_of(Context* context, const Node* node) {
  if (!node->user_data) return "out of memory";
  const auto* options = static_cast<const LshProjectionOptions*>(node->builtin_data);
  if (!options ||
      (options->kind != LshProjectionOptions::Kind::kSparse && options->kind != LshProjectionOptions::Kind::kDense)) {
    return "the projection must be sparse or dense";
  }
  const Tensor& seeds = tensor(context, node->inputs, 0);
  const Tensor& input = tensor(context, node->inputs, 1);
  if (!has_shape(seeds, Type::kFloat32, 2)) return "the seeds must be float32[h, b]";
  uint64_t hashes = static_cast<uint64_t>(seeds.dims->data[0]);
  uint64_t bits = static_cast<uint64_t>(seeds.dims->data[1]);
  if (hashes < 1 || bits < 1 || bits > 32) return "there must be at least one hash, of 1 to 32 bits";
  if (!is_full(seeds)) return "the seeds must be constants with as many bytes as their shape says";
  if (is_sparse(node) && bits + static_cast<uint64_t>(std::bit_width(hashes - 1)) > 32) {
    return "number and bits of the hashes do not fit into 32-bit signatures";
  }
  if (input.type == Type::kString || !input.dims || input.dims->size < 1) return "the input must be numbers[n, ...]";
  if (node->inputs->size == 3) {
    const Tensor& weights = tensor(context, node->inputs, 2);
    if (!has_shape(weights, Type::kFloat32, 1) || weights.dims->data[0] != input.dims->data[0]) {
      return "the weights must be float32[n]";
    }
  }
  if (tensor(context, node->outputs, 0).type != Type::kInt32) return "the output must be int32";
  return nullptr;
}

Status prepare(Context* context, Node* node) {
  int input_count = node->inputs && node->inputs->size == 2 ? 2 : 3;
  if (!has_arity(context, node, kProjection, input_count, 1)) return Status::kError;
  if (const char* fault = fault_of(context, node)) return refuse(context, kProjection, fault);
  const IntArray* shape = tensor(context, node->inputs, 0).dims;
  return resize(context, tensor(context, node->outputs, 0), shape->data[0] * (is_sparse(node) ? 1 : shape->data[1]));
}

// Rows of any number of bytes.
double sum_of_rows(uint32_t seed, const Tensor& input, const float* weights) {
  size_t rows = static_cast<size_t>(input.dims->data[0]);
  size_t row_bytes = rows ? input.bytes / rows : 0;
  std::string key(sizeof(seed) + row_bytes, '\0');
  std::memcpy(key.data(), &seed, sizeof(seed));
  double sum = 0;
  for (size_t i = 0; i < rows; ++i) {
    std::memcpy(key.data() + sizeof(seed), input.bytes_data + i * row_bytes, row_bytes);
    sum += (weights ? weights[i] : 1.0f) * static_cast<double>(static_cast<int64_t>(smart_reply::fingerprint64(key)));
  }
  return sum;
}

// Rows of four bytes. A row without weight adds zero, so it is left out.
void sum_words(Projection& projection, const Tensor& input, const float* weights) {
  size_t rows = static_cast<size_t>(input.dims->data[0]);
  projection.ids.clear();
  projection.weights.clear();
  for (size_t i = 0; i < rows; ++i) {
    float weight = weights ? weights[i] : 1.0f;
    if (weight == 0) continue;
    projection.ids.push_back(input.int32_data[i]);
    projection.weights.push_back(weight);
  }
  projection.kernel(projection.seeds.data(), projection.seeds.size(),
                    {projection.ids.data(), projection.weights.data(), projection.ids.size()}, projection.sums.data());
}

void write_bits(const std::vector<double>& sums, size_t bits, bool sparse, int32_t* output) {
  if (!sparse) {
    for (double sum : sums) *output++ = sum > 0;
    return;
  }
  for (size_t i = 0; i * bits < sums.size(); ++i) {
    uint32_t signature = 0;
    for (size_t j = 0; j < bits; ++j) signature = signature << 1 | (sums[i * bits + j] > 0);
    output[i] = static_cast<int32_t>(signature + (static_cast<uint64_t>(i) << bits));
  }
}

Status run(Context* context, Node* node) {
  return guarded(context, kProjection, [&] {
    auto& projection = *static_cast<Projection*>(node->user_data);
    const Tensor& seeds = tensor(context, node->inputs, 0);
    const Tensor& input = tensor(context, node->inputs, 1);
    const float* weights = node->inputs->size == 3 ? tensor(context, node->inputs, 2).float_data : nullptr;
    size_t seed_count = seeds.bytes / sizeof(uint32_t);
    projection.seeds.resize(seed_count);
    projection.sums.resize(seed_count);
    std::memcpy(projection.seeds.data(), seeds.data, seeds.bytes);
    if (input.bytes == static_cast<size_t>(input.dims->data[0]) * sizeof(int32_t)) {
      sum_words(projection, input, weights);
    } else {
      for (size_t i = 0; i < seed_count; ++i) {
        projection.sums[i] = sum_of_rows(projection.seeds[i], input, weights);
      }
    }
    write_bits(projection.sums, static_cast<size_t>(seeds.dims->data[1]), is_sparse(node),
               tensor(context, node->outputs, 0).int32_data);
    return Status::kOk;
  });
}

}  // namespace

Registration projection_registration() {
  Registration registration{};
  registration.init = init;
  registration.free = free_projection;
  registration.prepare = prepare;
  registration.invoke = run;
  return registration;
}

}  // namespace predictor::tflite
