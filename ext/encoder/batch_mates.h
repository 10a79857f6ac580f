// Whether texts that share a batch change one another's answers.
#pragma once

#include <cstdint>

#include "encoder/text_model.h"
#include "queue/batch_policy.h"

namespace predictor {

// Sets what may share a batch of a model that pads: texts of all lengths where none sees another; of equal lengths
// alone where padding changes answers; none (batch_items 1) where equal ones do as well. Answers are compared of texts
// of up to `max_tokens` tokens, alone and among others. Throws ModelError when the model fails on one.
void share_batches(PolicyConfig& policy, const TextModel& model, uint32_t max_tokens);

}  // namespace predictor
