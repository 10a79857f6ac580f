// Which architectures there are: config.json's model_type -> the function that puts the transformer together.
#pragma once

#include <string>
#include <vector>

#include "architectures/text_transformer.h"
#include "transformer/execution.h"
#include "transformer/weight_reader.h"
#include "weights/config.h"

namespace predictor {

// Throws ModelError for an architecture that is not served, and for what a folder asks for that this server does not
// do.
TextTransformer make_text_transformer(const Config& config, const WeightReader& weights, const Execution& execution);

// The model_types that are served.
std::vector<std::string> text_architectures();

// Those of them that generate text.
std::vector<std::string> generating_architectures();

}  // namespace predictor
