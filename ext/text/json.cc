#include "text/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace predictor {

namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";
constexpr size_t kLongestNumber = 32;

bool is_continuation(unsigned char byte) {
  return (byte & 0xC0) == 0x80;
}

// How many bytes the character at the front has, 0 if it is no UTF-8 (RFC 3629).
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(static_cast<unsigned char>(byte(i)))) return 0;
  }
  const unsigned second = byte(1);
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second > 0x9F;
  const bool too_high = first == 0xF4 && second > 0x8F;
  return overlong || surrogate || too_high ? 0 : length;
}

void append_escaped(std::string& json, unsigned char control) {
  constexpr char kHex[] = "0123456789abcdef";
  constexpr std::string_view kShort = "\b\t\n\f\r";
  if (const size_t found = kShort.find(static_cast<char>(control)); found != std::string_view::npos) {
    json += '\\';
    json += "btnfr"[found];
    return;
  }
  json += "\\u00";
  json += kHex[control >> 4];
  json += kHex[control & 15];
}

// The point stands behind the first digit, times ten to the exponent. In this form orjson writes numbers, too.
void append_digits(std::string& json, std::string digits, int exponent) {
  constexpr int kLeastPlain = -5;
  constexpr int kMostPlain = 15;
  if (exponent < kLeastPlain || exponent > kMostPlain) {
    json += digits[0];
    if (digits.size() > 1) (json += '.').append(digits, 1);
    (json += exponent < 0 ? "e" : "e+") += std::to_string(exponent);
  } else if (exponent < 0) {
    json.append("0.").append(static_cast<size_t>(-exponent - 1), '0') += digits;
  } else {
    const auto whole = static_cast<size_t>(exponent) + 1;
    if (digits.size() <= whole) digits.append(whole + 1 - digits.size(), '0');
    json.append(digits, 0, whole).append(".").append(digits, whole);
  }
}

// Whether the digits up to the point are all there is of a number in its shortest form, as of most numbers.
template <typename Number>
bool is_plain(Number number) {
  const Number size = std::abs(number);
  return size >= Number{1e-4} && size < Number{1e6};
}

template <typename Number>
void append_number(std::string& json, Number number) {
  if (!std::isfinite(number)) {
    json += "null";
    return;
  }
  char text[kLongestNumber];
  if (is_plain(number)) {
    const char* const end = std::to_chars(text, text + kLongestNumber, number, std::chars_format::fixed).ptr;
    const std::string_view written(text, static_cast<size_t>(end - text));
    json += written;
    if (written.find('.') == std::string_view::npos) json += ".0";
    return;
  }
  const char* const end = std::to_chars(text, text + kLongestNumber, number, std::chars_format::scientific).ptr;
  const std::string_view written(text, static_cast<size_t>(end - text));
  const size_t first = written[0] == '-' ? 1 : 0;
  const size_t mark = written.find('e');
  json += written.substr(0, first);
  int exponent = 0;
  std::from_chars(text + mark + (written[mark + 1] == '+' ? 2 : 1), end, exponent);
  std::string digits(written.substr(first, 1));
  if (mark > first + 1) digits += written.substr(first + 2, mark - first - 2);  // behind the point
  append_digits(json, std::move(digits), exponent);
}

}  // namespace

void append_json_string(std::string& json, std::string_view text) {
  json += '"';
  while (!text.empty()) {
    const size_t length = character_length(text);
    const auto first = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      json += kReplacement;
    } else if (first == '"' || first == '\\') {
      json += '\\';
      json += text[0];
    } else if (first < 0x20) {
      append_escaped(json, first);
    } else {
      json += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  json += '"';
}

void append_json_number(std::string& json, double number) {
  append_number(json, number);
}

void append_json_number(std::string& json, float number) {
  append_number(json, number);
}

std::string JsonWriter::write(const Result& result) {
  json_.clear();
  if (result.labels) {
    write_scores(result);
  } else {
    write_vector(result);
  }
  return json_;
}

void JsonWriter::write_vector(const Result& result) {
  json_ += '[';
  for (double value : result.values) {
    if (json_.size() > 1) json_ += ',';
    append_json_number(json_, static_cast<float>(value));
  }
  json_ += ']';
}

void JsonWriter::write_scores(const Result& result) {
  if (labels_ != result.labels) {
    labels_ = result.labels;
    keys_.clear();
    for (const std::string& label : *labels_) {
      append_json_string(keys_.emplace_back(), label);
      keys_.back() += ':';
    }
  }
  order_.resize(result.values.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto rank = [&](size_t i) { return std::isnan(result.values[i]) ? -INFINITY : result.values[i]; };
  std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) { return rank(a) > rank(b); });
  json_ += '{';
  for (size_t i : order_) {
    if (json_.size() > 1) json_ += ',';
    json_ += keys_[i];
    append_json_number(json_, result.values[i]);
  }
  json_ += '}';
}

}  // namespace predictor
