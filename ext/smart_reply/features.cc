#include "smart_reply/features.h"

#include "smart_reply/fingerprint.h"
#include "smart_reply/text.h"

namespace predictor::smart_reply {

namespace {

constexpr uint64_t kFeatureSpace = 1'000'000;

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool is_frame(std::string_view ngram) {
  return ngram == kStart || ngram == kEnd || ngram == "<S> <E>";
}

}  // namespace

void SkipGrams::split(std::string_view text) {
  words_.clear();
  size_t begin = 0;
  for (size_t i = 1; i < text.size(); ++i) {
    if (!is_space(text[i])) continue;
    if (i > begin && !is_space(text[begin])) words_.push_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  if (text.size() > begin) words_.push_back(text.substr(begin));
}

void extract_features(std::string_view normalized, const SkipGramOptions& options, SkipGrams& grams,
                      FeatureList& features) {
  features.ids.clear();
  features.weights.clear();
  grams.list(normalized, options, [&](std::string_view ngram, int words) {
    const bool frame = is_frame(ngram);
    features.ids.push_back(frame ? 0 : static_cast<int32_t>(fingerprint64(ngram) % kFeatureSpace));
    features.weights.push_back(frame ? 0 : static_cast<float>(words));
  });
  if (features.ids.empty()) {
    features.ids.push_back(0);
    features.weights.push_back(0);
  }
}

}  // namespace predictor::smart_reply
