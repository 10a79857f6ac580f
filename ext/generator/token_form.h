// What a text has to look like, such as JSON by a schema: which tokens may come next.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace predictor {

class TokenForm {
 public:
  virtual ~TokenForm() = default;

  // Takes the text's next tokens. Which may follow then: a bit for each token of the vocabulary, the first in the
  // lowest of the first word, and one more for the text's end. Empty: none, the text is complete. Throws
  // std::exception.
  virtual std::vector<uint32_t> after(std::span<const uint32_t> tokens) = 0;
};

// A text's form and where it is in it; shared by the text and by who finds that out.
struct FormState {
  std::shared_ptr<TokenForm> form;
  std::vector<uint32_t> tokens;  // new ones
  std::vector<uint32_t> allowed;
  std::string error;
  bool is_ready = false;  // allowed and error are of the text as it is
};

}  // namespace predictor
