// Reads a Smart Reply graph out of its file:
//   Normalize -> SKIP_GRAM -> ExtractFeatures -> LSH_PROJECTION -> Predict -> HASHTABLE_LOOKUP,
// each fed by the one before it. The other inputs are constants, which stay where they are in the file.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "smart_reply/reply_table.h"
#include "smart_reply/signatures.h"
#include "tflite/model_file.h"

namespace predictor::smart_reply {

inline constexpr std::string_view kOperators[] = {"Normalize",      "SKIP_GRAM", "ExtractFeatures",
                                                  "LSH_PROJECTION", "Predict",   "HASHTABLE_LOOKUP"};

struct Graph {
  SkipGramOptions skip_gram;
  HashSeeds seeds;
  ReplyTable table;
  std::span<const int32_t> response_ids;    // rising, none twice
  std::vector<std::string_view> responses;  // one for each id
};

// Whether a file's operators are the six, in this order.
bool is_smart_reply(const tflite::ModelFile& file);

// Everything that computing relies on is checked here. Throws ModelError, which names the operator or tensor at fault.
// What it gives refers to the file's content.
Graph read_graph(const tflite::ModelFile& file);

}  // namespace predictor::smart_reply
