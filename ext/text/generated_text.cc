#include "text/generated_text.h"

#include <algorithm>

namespace predictor {

namespace {

// Bytes of the UTF-8 character that begins with `first`; 0: none does.
size_t character_size(unsigned char first) {
  if (first < 0x80) return 1;
  if (first < 0xc2) return 0;
  if (first < 0xe0) return 2;
  if (first < 0xf0) return 3;
  return first < 0xf5 ? 4 : 0;
}

}  // namespace

size_t whole_characters(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xc0) == 0x80) continue;  // the first one comes before
    return character_size(byte) > back ? text.size() - back : text.size();
  }
  return text.size();
}

GeneratedText::Search::Search(const std::string& text) : pattern(text), fallback(text.size() + 1) {
  for (size_t n = 1; n < pattern.size(); ++n) {
    size_t shorter = fallback[n];
    while (shorter > 0 && pattern[n] != pattern[shorter]) shorter = fallback[shorter];
    fallback[n + 1] = pattern[n] == pattern[shorter] ? shorter + 1 : 0;
  }
}

bool GeneratedText::Search::next(char byte) {
  while (matched > 0 && pattern[matched] != byte) matched = fallback[matched];
  if (pattern[matched] == byte) ++matched;
  return matched == pattern.size();
}

GeneratedText::GeneratedText(const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) searches_.emplace_back(stop);
}

bool GeneratedText::append(std::string_view token) {
  for (const char byte : token) {
    bytes_.push_back(byte);
    size_t longest = 0;  // of several that end here the one that begins first
    for (Search& search : searches_) {
      if (search.next(byte)) longest = std::max(longest, search.matched);
    }
    if (longest > 0) {
      bytes_.resize(bytes_.size() - longest);
      for (Search& search : searches_) search.matched = 0;
      return true;
    }
  }
  return false;
}

void GeneratedText::pass(std::string_view token) {
  bytes_.append(token);
}

size_t GeneratedText::sure() const {
  size_t partial = 0;  // bytes at the end that may be the beginning of a stop string
  for (const Search& search : searches_) partial = std::max(partial, search.matched);
  return whole_characters(std::string_view(bytes_).substr(0, bytes_.size() - partial));
}

void GeneratedText::end() {
  bytes_.resize(whole_characters(bytes_));
}

}  // namespace predictor
