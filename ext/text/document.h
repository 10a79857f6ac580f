// What a text model is given, and what it gives back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace predictor {

struct Document {
  std::string text;
  std::vector<std::string> tokens;
};

// Splits as PyText's predictor_service did: bytes, ASCII lower-case, at C's isspace; a text without tokens gives
// {"<pad>"}. Stops after max_tokens + 1 tokens, and after max_token_bytes + 1 bytes of a token: enough to see that
// there is too much, which only the last token's length can tell then.
std::vector<std::string> tokenize(std::string_view text, uint32_t max_tokens, size_t max_token_bytes);

using Labels = std::vector<std::string>;

// Scores by label, or, without labels, a vector.
struct Result {
  std::shared_ptr<const Labels> labels;  // shared by all results with the same labels in the same order
  std::vector<double> values;
};

}  // namespace predictor
