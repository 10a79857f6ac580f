#include "torchscript/warm_up.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>

namespace predictor {

namespace {

// The best of so many runs is what a run takes: the others were disturbed.
constexpr int kTimedRuns = 5;

// Larger than what another order of float32 additions makes, smaller than any real change of a score.
constexpr double kTolerance = 1e-5;

const char* const kWords[] = {"set", "an", "alarm", "for", "tomorrow", "at", "seven", "will", "it", "rain"};

Document sample(uint32_t tokens, uint32_t first_word) {
  Document document;
  for (uint32_t i = 0; i < tokens; ++i) {
    document.tokens.emplace_back(kWords[(first_word + i) % std::size(kWords)]);
    document.text += (i ? " " : "") + document.tokens.back();
  }
  return document;
}

std::vector<Result> run(TorchScriptModel& model, const std::vector<Document>& documents) {
  std::vector<const Document*> pointers;
  size_t longest = 0;
  for (const Document& document : documents) {
    pointers.push_back(&document);
    longest = std::max(longest, document.tokens.size());
  }
  try {
    return model.run(pointers);
  } catch (const std::exception& error) {
    throw ModelError("the model fails on " + std::to_string(documents.size()) + " documents of up to " +
                     std::to_string(longest) + " tokens: " + reason(error));
  }
}

bool close(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b || std::abs(a - b) <= kTolerance * (1 + std::abs(a));
}

bool same(const Result& a, const Result& b) {
  const bool same_labels = a.labels && b.labels ? *a.labels == *b.labels : a.labels == b.labels;
  return same_labels && std::equal(a.values.begin(), a.values.end(), b.values.begin(), b.values.end(), close);
}

}  // namespace

std::vector<uint32_t> length_buckets(uint32_t longest) {
  std::vector<uint32_t> lengths;
  for (uint32_t length = 1; length < longest; length *= 2) lengths.push_back(length);
  lengths.push_back(longest);
  return lengths;
}

Result answer_sample(TorchScriptModel& model) {
  return run(model, {sample(3, 0)}).at(0);
}

bool depends_on_batch_mates(TorchScriptModel& model) {
  for (uint32_t length : {1, 2, 3, 5, 8}) {
    for (uint32_t first_word = 0; first_word < 3; ++first_word) {
      const Document document = sample(length, first_word);
      const Result alone = run(model, {document}).at(0);
      for (uint32_t longer : {length + 1, length + 4, 4 * length + 8}) {
        const Document mate = sample(longer, first_word + 1);
        if (!same(alone, run(model, {document, mate}).at(0))) return true;
        if (!same(alone, run(model, {mate, document}).at(1))) return true;
      }
    }
  }
  return false;
}

void warm_up(TorchScriptModel& model, const std::vector<uint32_t>& lengths, uint32_t batch_items,
             uint32_t batch_tokens) {
  for (uint32_t length : lengths) {
    const uint32_t full = std::clamp<uint32_t>(batch_tokens / length, 1, batch_items);
    for (uint32_t items : {uint32_t{1}, full}) {
      std::vector<Document> documents;
      for (uint32_t i = 0; i < items; ++i) documents.push_back(sample(length, i));
      for (int i = 0; i < kRunsToSettle; ++i) run(model, documents);
    }
  }
}

uint32_t longest_within(TorchScriptModel& model, const std::vector<uint32_t>& lengths, Nanoseconds time) {
  uint32_t longest = 0;
  for (uint32_t length : lengths) {
    const std::vector<Document> alone = {sample(length, 0)};
    Nanoseconds best = kNever;
    for (int i = 0; i < kTimedRuns; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      run(model, alone);
      best = std::min<Nanoseconds>(best, (std::chrono::steady_clock::now() - begin) / std::chrono::nanoseconds(1));
    }
    if (best > time) break;
    longest = length;
  }
  return longest;
}

}  // namespace predictor
