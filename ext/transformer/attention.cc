#include "transformer/attention.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "transformer/loops.h"
#include "transformer/threads.h"

namespace predictor {

namespace {

// Which keys a query may not see, as -inf to be added: [length, length].
at::Tensor mask_of(const kernels::AttentionShape& shape, int64_t length, const at::TensorOptions& options) {
  const at::Tensor places = at::arange(length, options.dtype(at::kLong));
  const at::Tensor distance = places.unsqueeze(0) - places.unsqueeze(1);  // key minus query
  at::Tensor hidden = at::zeros({length, length}, options.dtype(at::kBool));
  if (shape.causal) hidden = hidden.logical_or(distance > 0);
  if (shape.window > 0) hidden = hidden.logical_or(distance.abs() > static_cast<int64_t>(shape.window));
  return at::zeros({length, length}, options).masked_fill(hidden, -std::numeric_limits<double>::infinity());
}

// A part of a step's attention: some tokens of a chunk, and the heads that share keys and values.
struct Share {
  size_t chunk;
  size_t row;    // of the first token, in the step
  size_t token;  // the same in the chunk
  size_t count;
  size_t head;
};

// A part of a batch's attention: some of the heads of keys and values of a text.
struct HeadsOfText {
  size_t text;
  size_t begin;
  size_t end;
};

constexpr int64_t kLongText = 32;  // tokens
constexpr size_t kShareTokens = 16;
constexpr int64_t kPreparedGrain = 8;               // tokens that make another thread worth while
constexpr size_t kAttendedGrain = size_t{1} << 17;  // the same in multiplications

// Multiplications of a step's attention, about.
size_t work_of(std::span<const SequenceChunk> chunks, const kernels::AttentionShape& shape) {
  size_t pairs = 0;
  for (const SequenceChunk& chunk : chunks) pairs += chunk.tokens.size() * (chunk.first + chunk.tokens.size());
  return 2 * pairs * shape.heads * shape.head_size;
}

}  // namespace

DistanceAttentionBias::DistanceAttentionBias(const at::Tensor& table)
    : table_(table.contiguous()),
      bias_(std::make_shared<kernels::DistanceBias>(
          std::span(table_.const_data_ptr<float>(), static_cast<size_t>(table_.numel())),
          static_cast<size_t>(table.size(0)), static_cast<size_t>(table.size(1) / 2))) {}

at::Tensor DistanceAttentionBias::matrix(int64_t length) const {
  const int64_t most = table_.size(1) / 2;
  const at::Tensor places = at::arange(length, at::kLong);
  const at::Tensor distance = (places.unsqueeze(0) - places.unsqueeze(1)).clamp(-most, most) + most;
  return table_.index_select(1, distance.flatten()).view({table_.size(0), length, length});
}

// A token's row, for its place.
void Attention::prepare(float* qkv, int64_t position) const {
  const auto heads = static_cast<int64_t>(shape.heads);
  const auto kv_heads = static_cast<int64_t>(shape.kv_heads);
  const auto head_size = static_cast<int64_t>(shape.head_size);
  float* const keys = qkv + heads * head_size;
  if (query_norm) query_norm->apply(qkv, static_cast<size_t>(heads * head_size), qkv);
  if (key_norm) key_norm->apply(keys, static_cast<size_t>(kv_heads * head_size), keys);
  if (rotary) rotary->apply(position, heads + kv_heads, head_size, qkv);  // keys follow the queries
}

// Shared out by texts, and a long text by its heads too: else one that comes alone would have one thread.
at::Tensor Attention::apply(const at::Tensor& x, const TextBatch& batch) const {
  const at::Tensor projected = qkv->apply(x);
  if (!by_loops(x)) return out->apply(by_operators(projected, batch));
  const int64_t row = projected.size(1);
  const auto width = static_cast<int64_t>(shape.heads * shape.head_size);
  const auto texts = static_cast<int64_t>(batch.lengths.size());
  const at::Tensor mixed = at::empty({projected.size(0), width}, at::kFloat);
  float* const from = projected.mutable_data_ptr<float>();
  float* const to = mixed.mutable_data_ptr<float>();
  std::vector<int64_t> begins;
  std::vector<HeadsOfText> parts;
  int64_t begin = 0;
  for (const int64_t length : batch.lengths) {
    const size_t text = begins.size();
    const size_t each = length < kLongText ? shape.kv_heads : 1;
    for (size_t head = 0; head < shape.kv_heads; head += each) parts.push_back({text, head, head + each});
    begins.push_back(begin);
    begin += length;
  }
  if (query_norm || key_norm || rotary) {
    std::vector<int64_t> positions;
    for (const int64_t length : batch.lengths) {
      for (int64_t i = 0; i < length; ++i) positions.push_back(i);
    }
    share_out(begin, kPreparedGrain, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) prepare(from + i * row, positions[static_cast<size_t>(i)]);
    });
  }
  std::vector<std::shared_ptr<const kernels::ScoreBias>> biases(batch.lengths.size());
  if (bias) {
    at::parallel_for(0, texts, 1, [&](int64_t first, int64_t end) {
      for (auto i = static_cast<size_t>(first); i < static_cast<size_t>(end); ++i) {
        biases[i] = bias->of_text(from + begins[i] * row, batch.lengths[i]);
      }
    });
  }
  share_out(static_cast<int64_t>(parts.size()), 1, [&](int64_t first, int64_t end) {
    kernels::TextAttention attention(shape);
    for (auto i = static_cast<size_t>(first); i < static_cast<size_t>(end); ++i) {
      const auto& [text, head, end_head] = parts[i];
      const auto length = static_cast<size_t>(batch.lengths[text]);
      for (size_t kv_head = head; kv_head < end_head; ++kv_head) {
        attention.attend_head(from + begins[text] * row, length, kv_head, to + begins[text] * width, biases[text].get(),
                              static_cast<size_t>(batch.seen[text]));
      }
    }
  });
  return out->apply(mixed);
}

at::Tensor Attention::apply(const at::Tensor& x, const CachedBatch& batch) const {
  const at::Tensor projected = qkv->apply(x);
  if (!by_loops(x)) return out->apply(by_operators(projected, batch));
  const at::Tensor mixed =
      at::empty({projected.size(0), static_cast<int64_t>(shape.heads * shape.head_size)}, at::kFloat);
  if (batch.cache.is_of_floats()) {
    attend_cached<float>(projected, batch, mixed);
  } else {
    attend_cached<uint16_t>(projected, batch, mixed);
  }
  return out->apply(mixed);
}

// Number: float, or the bits of bfloat16. All new keys and values are stored before any is looked at; then the work is
// shared out by sequences, heads and queries.
template <typename Number>
void Attention::attend_cached(const at::Tensor& projected, const CachedBatch& batch, const at::Tensor& mixed) const {
  const auto row = static_cast<size_t>(projected.size(1));
  const size_t width = shape.heads * shape.head_size;
  const size_t kv_width = shape.kv_heads * shape.head_size;
  const at::Tensor& cache = batch.cache.of_layer(batch.layer);
  const auto page_step = static_cast<size_t>(cache.stride(0));
  float* const rows = projected.mutable_data_ptr<float>();
  float* const to = mixed.mutable_data_ptr<float>();
  auto* const memory = static_cast<Number*>(cache.mutable_data_ptr());

  std::vector<std::vector<const Number*>> pages;
  std::vector<Share> shares;
  size_t begin = 0;
  for (size_t i = 0; i < batch.chunks.size(); ++i) {
    const SequenceChunk& chunk = batch.chunks[i];
    for (size_t token = 0; token < chunk.tokens.size(); token += kShareTokens) {
      const size_t count = std::min(kShareTokens, chunk.tokens.size() - token);
      for (size_t head = 0; head < shape.kv_heads; ++head) shares.push_back({i, begin + token, token, count, head});
    }
    std::vector<const Number*>& of_sequence = pages.emplace_back();
    for (const uint32_t page : chunk.pages) of_sequence.push_back(memory + page * page_step);
    begin += chunk.tokens.size();
  }

  const auto store = [&](const SequenceChunk& chunk, size_t token, float* qkv_row) {
    const size_t position = chunk.first + token;
    prepare(qkv_row, static_cast<int64_t>(position));
    Number* const page = memory + chunk.pages[position / kernels::kPageTokens] * page_step;
    const float* const keys = qkv_row + width;
    kernels::store_kv(shape, keys, keys + kv_width, position % kernels::kPageTokens, page);
  };
  float* next = rows;
  for (const SequenceChunk& chunk : batch.chunks) {
    share_out(static_cast<int64_t>(chunk.tokens.size()), kPreparedGrain, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) store(chunk, static_cast<size_t>(i), next + static_cast<size_t>(i) * row);
    });
    next += chunk.tokens.size() * row;
  }

  const size_t of_share = work_of(batch.chunks, shape) / shares.size();
  share_out(static_cast<int64_t>(shares.size()), static_cast<int64_t>(1 + kAttendedGrain / (of_share + 1)),
            [&](int64_t first, int64_t end) {
              kernels::PagedAttention attention(shape, slopes.empty() ? nullptr : slopes.data());
              for (int64_t i = first; i < end; ++i) {
                const Share& share = shares[static_cast<size_t>(i)];
                attention.attend<Number>({pages[share.chunk].data(), batch.chunks[share.chunk].first + share.token,
                                          share.count, rows + share.row * row, row, to + share.row * width, width},
                                         share.head);
              }
            });
}

struct Attention::Parts {
  at::Tensor queries;  // [tokens, heads, head_size]
  at::Tensor keys;     // [tokens, kv_heads, head_size]
  at::Tensor values;
};

// Rows of tokens at these positions.
Attention::Parts Attention::split(const at::Tensor& projected, const at::Tensor& positions) const {
  const auto heads = static_cast<int64_t>(shape.heads);
  const auto kv_heads = static_cast<int64_t>(shape.kv_heads);
  const at::Tensor tokens =
      projected.view({projected.size(0), heads + 2 * kv_heads, static_cast<int64_t>(shape.head_size)});
  Parts parts{tokens.narrow(1, 0, heads), tokens.narrow(1, heads, kv_heads),
              tokens.narrow(1, heads + kv_heads, kv_heads)};
  if (query_norm) parts.queries = query_norm->applied(parts.queries.contiguous());
  if (key_norm) parts.keys = key_norm->applied(parts.keys.contiguous());
  if (rotary) {
    parts.queries = rotary->applied(parts.queries, positions);
    parts.keys = rotary->applied(parts.keys, positions);
  }
  return parts;
}

// [texts, heads, tokens, head_size], with kv_heads for keys and values -> [texts, tokens, heads * head_size]. `mask`:
// is added to the scores, or undefined.
at::Tensor Attention::attend(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                             const at::Tensor& mask) const {
  const auto sharing = static_cast<int64_t>(shape.heads / shape.kv_heads);
  at::Tensor mixed;
  if (shape.soft_cap == 0) {
    mixed = at::scaled_dot_product_attention(queries, keys, values, mask.defined() ? std::optional(mask) : std::nullopt,
                                             0.0, false, static_cast<double>(shape.scale), sharing > 1);
  } else {
    at::Tensor scores = at::matmul(queries, keys.repeat_interleave(sharing, 1).transpose(2, 3)) * shape.scale;
    scores = shape.soft_cap * (scores / shape.soft_cap).tanh();
    if (mask.defined()) scores = scores + mask;
    mixed = at::matmul(scores.softmax(-1), values.repeat_interleave(sharing, 1));
  }
  return mixed.transpose(1, 2).flatten(2);
}

// Each run of texts at once that are of equal length and see as many of their tokens.
at::Tensor Attention::by_operators(const at::Tensor& projected, const TextBatch& batch) const {
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (size_t i = 0; i < batch.lengths.size();) {
    const int64_t length = batch.lengths[i];
    const int64_t seen = batch.seen[i];
    int64_t texts = 0;
    for (; i < batch.lengths.size() && batch.lengths[i] == length && batch.seen[i] == seen; ++i) ++texts;
    const at::Tensor positions = at::arange(length, projected.options().dtype(at::kLong)).repeat({texts});
    const Parts of_texts = split(projected.narrow(0, begin, texts * length), positions);
    const auto by_head = [&](const at::Tensor& part) {
      return part.reshape({texts, length, part.size(1), part.size(2)}).transpose(1, 2);
    };
    at::Tensor mask;
    if (bias) mask = bias->matrix(length).to(projected.options()).unsqueeze(0);
    if (shape.causal || shape.window > 0) {
      const at::Tensor hidden = mask_of(shape, length, projected.options());
      mask = mask.defined() ? mask + hidden : hidden;
    }
    if (seen < length) {
      if (!mask.defined()) mask = at::zeros({length, length}, projected.options());
      mask.narrow(-1, seen, length - seen).fill_(-std::numeric_limits<double>::infinity());
    }
    parts.push_back(
        attend(by_head(of_texts.queries), by_head(of_texts.keys), by_head(of_texts.values), mask).flatten(0, 1));
    begin += texts * length;
  }
  return at::cat(parts);
}

// All texts that grow by one token at once, each chunk of a prompt on its own.
at::Tensor Attention::by_operators(const at::Tensor& projected, const CachedBatch& batch) const {
  const StepPlaces& step = *batch.places;
  const at::Tensor& cache = batch.cache.of_layer(batch.layer);
  const Parts parts = split(projected, step.positions);
  cache.index_copy_(0, step.places, at::stack({parts.keys, parts.values}, 1).to(cache.scalar_type()));
  at::Tensor mixed = at::empty({projected.size(0), parts.queries.size(1) * parts.queries.size(2)}, projected.options());
  // queries [texts, tokens, heads, head_size] at `positions` [texts, tokens], keys' places [texts, keys]
  const auto look = [&](const at::Tensor& queries, const at::Tensor& positions, const at::Tensor& places) {
    const at::Tensor found =
        cache.index_select(0, places.flatten()).to(queries.scalar_type()).unflatten(0, places.sizes());
    const auto by_head = [&](int64_t which) { return found.select(2, which).transpose(1, 2); };
    const at::Tensor mask = mask_at(positions, places.size(1), projected.options());
    return attend(queries.transpose(1, 2), by_head(0), by_head(1), mask);
  };
  if (step.decoding.numel() > 0) {
    const at::Tensor queries = parts.queries.index_select(0, step.decoding).unsqueeze(1);
    const at::Tensor positions = step.positions.index_select(0, step.decoding).unsqueeze(1);
    mixed.index_copy_(0, step.decoding, look(queries, positions, step.decoding_keys).squeeze(1));
  }
  size_t next = 0;
  for (const SequenceChunk& chunk : batch.chunks) {
    if (chunk.tokens.size() == 1) continue;
    const auto& [row, places] = step.chunk_keys[next++];
    const auto count = static_cast<int64_t>(chunk.tokens.size());
    const at::Tensor queries = parts.queries.narrow(0, row, count).unsqueeze(0);
    const at::Tensor positions = step.positions.narrow(0, row, count).unsqueeze(0);
    mixed.narrow(0, row, count).copy_(look(queries, positions, places.unsqueeze(0)).squeeze(0));
  }
  return mixed;
}

// What is added to the scores of queries at `positions` [texts, tokens] and the first `keys` keys of their sequences:
// [texts, heads or 1, tokens, keys].
at::Tensor Attention::mask_at(const at::Tensor& positions, int64_t keys, const at::TensorOptions& options) const {
  const at::Tensor distance = positions.unsqueeze(2) - at::arange(keys, positions.options());
  at::Tensor hidden = distance < 0;
  if (shape.window > 0) hidden = hidden.logical_or(distance > static_cast<int64_t>(shape.window));
  at::Tensor mask =
      at::zeros(distance.sizes(), options).masked_fill(hidden, -std::numeric_limits<double>::infinity()).unsqueeze(1);
  if (slopes.empty()) return mask;
  const at::Tensor of_heads = at::tensor(slopes, at::kFloat).to(options.device()).view({1, -1, 1, 1});
  return mask + (of_heads * at::arange(keys, options.dtype(at::kFloat))).to(mask.scalar_type());
}

}  // namespace predictor
