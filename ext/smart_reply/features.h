// From a normalized text to the features that its signatures are made of: SKIP_GRAM and ExtractFeatures.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace predictor::smart_reply {

inline constexpr int kMaxNgramSize = 5;
inline constexpr int kMaxSkip = 10;

// Options of the operator SKIP_GRAM.
struct SkipGramOptions {
  int ngram_size = 3;       // words, 1 to kMaxNgramSize
  int max_skip = 2;         // words left out between two, 0 to kMaxSkip
  bool include_all = true;  // shorter ones too
};

// Lists the n-grams of a text, each joined by spaces, in the operator's order: behind all that continue it. A text of
// fewer than ngram_size words has none. Keeps its memory from text to text.
class SkipGrams {
 public:
  // Calls take(n-gram, number of its words); the n-gram is good for this call only.
  template <typename Take>
  void list(std::string_view text, const SkipGramOptions& options, Take&& take) {
    split(text);
    if (words_.size() < static_cast<size_t>(options.ngram_size)) return;
    for (size_t first = 0; first < words_.size(); ++first) {
      ngram_.clear();
      extend(1, first, options, take);
    }
  }

 private:
  // The words of the operator: at white space; but what white space at the beginning parts off is no word.
  void split(std::string_view text);

  template <typename Take>
  void extend(int size, size_t last, const SkipGramOptions& options, Take& take) {
    const size_t length = ngram_.size();
    if (size > 1) ngram_ += ' ';
    ngram_ += words_[last];
    if (size < options.ngram_size) {
      const size_t end = std::min(words_.size(), last + 2 + static_cast<size_t>(options.max_skip));
      for (size_t next = last + 1; next < end; ++next) extend(size + 1, next, options, take);
    }
    if (options.include_all || size == options.ngram_size) take(std::string_view(ngram_), size);
    ngram_.resize(length);
  }

  std::vector<std::string_view> words_;
  std::string ngram_;
};

// Weighted features: ids[i] counts weights[i] times.
struct FeatureList {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

// Fingerprint64 of each n-gram modulo 1,000,000, weighted with its number of words; 0 and 0 for those of the frame
// alone, and for a text without n-grams.
void extract_features(std::string_view normalized, const SkipGramOptions& options, SkipGrams& grams,
                      FeatureList& features);

}  // namespace predictor::smart_reply
