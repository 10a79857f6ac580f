#include "text/document.h"

namespace predictor {

namespace {

// C's isspace and tolower of the "C" locale, whatever locale the process runs in.
bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

std::vector<std::string> tokenize(std::string_view text, uint32_t max_tokens, size_t max_token_bytes) {
  std::vector<std::string> tokens;
  for (size_t begin = 0; begin < text.size() && tokens.size() <= max_tokens;) {
    if (is_space(text[begin])) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < text.size() && !is_space(text[end]) && end - begin <= max_token_bytes) ++end;
    std::string& token = tokens.emplace_back(text.substr(begin, end - begin));
    for (char& c : token) c = to_lower(c);
    if (token.size() > max_token_bytes) break;
    begin = end;
  }
  if (tokens.empty()) tokens.emplace_back("<pad>");
  return tokens;
}

}  // namespace predictor
