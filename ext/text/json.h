// Results as JSON, for those who write a million of them.
#pragma once

#include <string>
#include <string_view>

#include "text/document.h"

namespace predictor {

// A JSON string, quotes included. Bytes that are no UTF-8 become U+FFFD.
void append_json_string(std::string& json, std::string_view text);

// The shortest number that reads back as the same, in orjson's form; null for what JSON has no number for.
void append_json_number(std::string& json, double number);
void append_json_number(std::string& json, float number);

// Writes results one after the other; labels, which are mostly the same from one to the next, are escaped once.
class JsonWriter {
 public:
  // An object of label -> score, best first, equals in the model's order; or an array of single-precision numbers.
  std::string write(const Result& result);

 private:
  void write_vector(const Result& result);
  void write_scores(const Result& result);

  std::shared_ptr<const Labels> labels_;
  std::vector<std::string> keys_;  // the labels in JSON, with a colon behind
  std::vector<size_t> order_;
  std::string json_;
};

}  // namespace predictor
