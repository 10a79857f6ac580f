// What happens between loading a model and serving it: finding out whether padding changes its answers, and running it
// until TorchScript has compiled itself.
#pragma once

#include <cstdint>
#include <vector>

#include "queue/request.h"
#include "torchscript/model.h"

namespace predictor {

// The profiling executor records the first run of a graph and specialises the second; the third is like all others.
inline constexpr int kRunsToSettle = 3;

inline constexpr uint32_t kMaxWarmUpTokens = 1 << 16;

// Token counts at which a model is warmed up: powers of two up to `longest`.
std::vector<uint32_t> length_buckets(uint32_t longest);

// What the model says to a short document. Throws ModelError when it fails.
Result answer_sample(TorchScriptModel& model);

// Whether some document's scores change beside a longer one: the model pads without a mask. Throws ModelError when the
// model fails.
bool depends_on_batch_mates(TorchScriptModel& model);

// Runs the model at every length, alone and in a full batch (of at most batch_tokens tokens), as often as TorchScript's
// profiling executor takes to settle. Throws ModelError when the model fails.
void warm_up(TorchScriptModel& model, const std::vector<uint32_t>& lengths, uint32_t batch_items,
             uint32_t batch_tokens);

// The longest of the lengths (ascending) at which a document alone takes no longer than `time`, once warm; 0 for none.
uint32_t longest_within(TorchScriptModel& model, const std::vector<uint32_t>& lengths, Nanoseconds time);

}  // namespace predictor
