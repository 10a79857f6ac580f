#include "smart_reply/text.h"

#include <algorithm>
#include <utility>

namespace predictor::smart_reply {

namespace {

// RE2's \s, which leaves out the vertical tab.
bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
}
// What stripping removes; here the vertical tab counts.
bool is_strippable(char c) {
  return is_space(c) || c == '\v';
}
bool is_shout(char c) {
  return c == '?' || c == '!';
}
bool is_stop(char c) {
  return is_shout(c) || c == '.' || c == ',';
}
bool is_one_of(char c, std::string_view set) {
  return set.find(c) != std::string_view::npos;
}

std::string_view stripped(std::string_view text) {
  while (!text.empty() && is_strippable(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_strippable(text.back())) text.remove_suffix(1);
  return text;
}

std::string plain_lower_case(std::string_view text) {
  std::string plain;
  plain.reserve(text.size() + 16);
  for (char c : stripped(text)) {
    if (is_one_of(c, ".*()\"")) continue;
    plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return plain;
}

constexpr std::string_view kContractions[] = {"'t", "'nt", "n't", "'d", "'ll", "'s", "'m", "'ve", "'re"};

// The length of the contraction that stands at `at` and is followed by a separator; 0 if there is none. The separator
// is part of the match, so it cannot be the white space before the next contraction.
size_t separated_contraction(std::string_view text, size_t at) {
  for (std::string_view contraction : kContractions) {
    size_t after = at + contraction.size();
    if (after < text.size() && text.substr(at, contraction.size()) == contraction &&
        (is_space(text[after]) || is_one_of(text[after], ",;:/"))) {
      return contraction.size();
    }
  }
  return 0;
}

// "do n't go" -> "don't go": white space before a contraction goes.
void join_contractions(std::string& text) {
  std::string joined;
  joined.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    size_t length = is_space(text[i]) ? separated_contraction(text, i + 1) : 0;
    if (length == 0) {
      joined += text[i++];
    } else {
      joined.append(text, i + 1, length + 1);
      i += length + 2;
    }
  }
  for (std::string_view contraction : kContractions) {
    if (joined.size() > contraction.size() && joined.ends_with(contraction) &&
        is_space(joined[joined.size() - contraction.size() - 1])) {
      joined.erase(joined.size() - contraction.size() - 1, 1);
      break;
    }
  }
  text = std::move(joined);
}

// Writes out the last `suffix` in each run of characters without white space, if something stands before it there.
void write_out(std::string& text, std::string_view suffix, std::string_view words) {
  if (text.find(suffix) == std::string::npos) return;
  std::string written;
  written.reserve(text.size() + 16);
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && !is_space(text[end])) ++end;
    std::string_view run = std::string_view(text).substr(begin, end - begin);
    size_t at = run.rfind(suffix);
    if (at == std::string_view::npos || at == 0) {
      written += run;
    } else {
      written.append(run.substr(0, at)).append(words).append(run.substr(at + suffix.size()));
    }
    while (end < text.size() && is_space(text[end])) written += text[end++];
    begin = end;
  }
  text = std::move(written);
}

void write_out_i_am(std::string& text) {
  std::string written;
  size_t begin = 0;
  for (size_t at; (at = text.find("i'm", begin)) != std::string::npos; begin = at + 3) {
    written.append(text, begin, at - begin).append("i am");
  }
  text = std::move(written.append(text, begin));
}

void write_out_contractions(std::string& text) {
  if (text.find('\'') == std::string::npos) return;
  join_contractions(text);
  write_out(text, "'ll", " will");
  write_out(text, "'nt", " not");
  write_out(text, "'re", " are");
  write_out(text, "'ve", " have");
  write_out(text, "n't", " not");
  write_out_i_am(text);
}

// Runs of ? and of ! become one; one that follows other text gets spaces around it; of those that then still touch,
// each pair is parted.
void set_shouts_apart(std::string& text) {
  if (std::none_of(text.begin(), text.end(), is_shout)) return;
  text.erase(std::unique(text.begin(), text.end(), [](char a, char b) { return a == b && is_shout(a); }), text.end());
  std::string spaced;
  bool after_text = false;
  for (char c : text) {
    if (is_shout(c) && after_text) {
      spaced.append({' ', c, ' '});
    } else {
      spaced += c;
    }
    after_text = !is_shout(c);
  }
  text.clear();
  for (size_t i = 0; i < spaced.size(); ++i) {
    text += spaced[i];
    if (i + 1 < spaced.size() && is_shout(spaced[i]) && is_shout(spaced[i + 1])) {
      text.append({' ', spaced[++i]});
    }
  }
}

std::string_view trimmed(std::string_view text) {
  auto goes = [](char c) { return is_space(c) || is_one_of(c, ",:;-&'\""); };
  while (!text.empty() && goes(text.back())) text.remove_suffix(1);
  while (!text.empty() && goes(text.front())) text.remove_prefix(1);
  return stripped(text);
}

// Spaces squeezed, each run of stops reduced to its last character behind a space, a tab where a segment ends.
std::string marked(std::string_view message) {
  std::string text;
  text.reserve(message.size() + 16);
  auto add_space = [&text] {
    if (text.empty() || text.back() != ' ') text += ' ';
  };
  bool after_break = false;  // the break has consumed the space before a run that follows at once
  for (size_t i = 0; i < message.size();) {
    bool space_consumed = std::exchange(after_break, false);
    if (message[i] == ' ') {
      add_space();
      ++i;
    } else if (!is_stop(message[i])) {
      text += message[i++];
    } else {
      while (i + 1 < message.size() && is_stop(message[i + 1])) ++i;
      if (!space_consumed) add_space();
      text += message[i++];
      if (i == message.size() || !is_space(message[i])) continue;
      while (i < message.size() && is_space(message[i])) ++i;
      text += '\t';
      after_break = true;
    }
  }
  return text;
}

}  // namespace

std::vector<std::string> segments(std::string_view message) {
  std::string text = marked(message);
  text.erase(text.find_last_not_of('\t') + 1);
  std::vector<std::string> cut;
  for (size_t begin = 0;;) {
    size_t end = text.find('\t', begin);
    cut.push_back(text.substr(begin, end - begin));
    if (end == std::string::npos) return cut;
    begin = end + 1;
  }
}

std::string normalized(std::string_view segment) {
  std::string text = plain_lower_case(segment);
  write_out_contractions(text);
  set_shouts_apart(text);
  std::string_view core = trimmed(text);
  std::string result(kStart);
  result += ' ';
  if (core.size() > kMaxNormalizedBytes) return result.append(core.substr(0, kMaxNormalizedBytes));
  return result.append(core).append(" ").append(kEnd);
}

}  // namespace predictor::smart_reply
