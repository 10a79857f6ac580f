// A text that grows token by token: where it may be shown, and where it stops.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace predictor {

class GeneratedText {
 public:
  // `stops`: none of them empty.
  explicit GeneratedText(const std::vector<std::string>& stops);

  // Adds a token's bytes. True: a stop string is complete; the text ends before it, and is not to grow any more.
  bool append(std::string_view token);

  // The same where the text may not stop yet: no stop string is looked for in it.
  void pass(std::string_view token);

  // How many bytes of the text are sure: whole characters, and nothing that could be the beginning of a stop string.
  size_t sure() const;
  // Ends the text after its last whole character.
  void end();

  const std::string& bytes() const { return bytes_; }

 private:
  // Looks for one string byte by byte, without ever going back (Knuth, Morris and Pratt 1977).
  struct Search {
    std::string pattern;
    std::vector<size_t> fallback;  // [n]: the longest true prefix of `pattern` that the first n bytes end with
    size_t matched = 0;            // bytes of `pattern` that the text ends with now

    explicit Search(const std::string& text);
    bool next(char byte);
  };

  std::string bytes_;
  std::vector<Search> searches_;
};

// Length of `text` without a character at its end whose last bytes are missing.
size_t whole_characters(std::string_view text);

}  // namespace predictor
