// Random bytes through the text rules, hashes and kernels of the core, to be run under AddressSanitizer and
// UndefinedBehaviorSanitizer (scripts/sanitize.sh). What must hold for any input is checked here; what the rules give
// for particular ones, in the Python tests.
//
//   text_fuzz [SEED]
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "smart_reply/fingerprint.h"
#include "smart_reply/projection.h"
#include "smart_reply/text.h"
#include "text/document.h"

namespace predictor {
namespace {

constexpr int kTexts = 30'000;
constexpr int kProjections = 1'000;
constexpr std::string_view kSpaces = " \t\n\v\f\r";

void check(bool condition, const char* what, std::string_view text = {}) {
  if (condition) return;
  std::fprintf(stderr, "text_fuzz: FAILED: %s; input, in hexadecimal:", what);
  for (unsigned char byte : text) std::fprintf(stderr, " %02x", byte);
  std::fputc('\n', stderr);
  std::_Exit(1);
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t below(uint64_t end) { return std::uniform_int_distribution<uint64_t>(0, end - 1)(engine_); }

 private:
  std::mt19937_64 engine_;
};

// Bytes of all kinds, and much of what the rules look for.
std::string make_text(Random& random) {
  static constexpr std::string_view kPieces[] = {
      " ", "  ", "\t", "\n",  "\v",  "'t",   "'nt",  "n't",  "'d", "'ll", "'s",    "'m", "'ve", "'re",     "i'm",
      "?", "!",  ".",  ",",   ";",   ":",    "/",    "*",    "(",  ")",   "\"",    "-",  "&",   "'",       "<E>",
      "A", "z",  "do", "...", "?!?", "\xc3", "\xa9", "\xff", "I",  "can", "Hello", "0",  "@",   "[`{AZaz}"};
  std::string text;
  for (uint64_t n = random.below(random.below(20) == 0 ? 400 : 30); n > 0; --n) {
    switch (random.below(8)) {
      case 0:
        text += static_cast<char>(random.below(256));
        break;
      case 1:
        text.append(random.below(40), static_cast<char>('a' + random.below(26)));
        break;
      default:
        text += kPieces[random.below(std::size(kPieces))];
    }
  }
  return text;
}

// A copy that ends where its memory ends, so that AddressSanitizer sees the first byte read too many.
class Exact {
 public:
  explicit Exact(std::string_view text) : bytes_(new char[text.size()]), size_(text.size()) {
    std::copy(text.begin(), text.end(), bytes_.get());
  }
  std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<char[]> bytes_;
  size_t size_;
};

void check_tokens(std::string_view text, Random& random) {
  const auto limit = static_cast<uint32_t>(1 + random.below(40));
  const size_t most = 5 + random.below(20);
  const std::vector<std::string> tokens = tokenize(text, limit, most);
  check(!tokens.empty() && tokens.size() <= limit + 1, "between 1 and max_tokens + 1 tokens", text);
  size_t bytes = 0;
  for (const std::string& token : tokens) {
    bytes += token.size();
    check(token.size() <= most || (&token == &tokens.back() && token.size() == most + 1), "at most one too long", text);
    check(!token.empty() && token.find_first_of(kSpaces) == std::string::npos, "tokens without white space", text);
    check(std::none_of(token.begin(), token.end(), [](char c) { return c >= 'A' && c <= 'Z'; }), "lower case", text);
  }
  const auto solid = static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return kSpaces.find(c) == std::string_view::npos; }));
  if (solid == 0) return check(tokens == std::vector<std::string>{"<pad>"}, "nothing is <pad>", text);
  const bool whole = tokens.size() <= limit && tokens.back().size() <= most;
  check(whole ? bytes == solid : bytes <= solid, "every byte is in one token", text);
}

void check_segments(std::string_view text) {
  const std::vector<std::string> segments = smart_reply::segments(text);
  check(!segments.empty(), "at least one segment", text);
  for (const std::string& segment : segments) {
    check(segment.find('\t') == std::string::npos, "segments without tabs", text);
    const Exact exact(segment);
    const std::string normalized = smart_reply::normalized(exact.view());
    check(normalized.starts_with("<S> "), "a normalized segment starts with <S>", segment);
    const size_t most = smart_reply::kMaxNormalizedBytes + std::string_view("<S>  <E>").size();
    check(normalized.size() <= most, "a normalized segment is bounded", segment);
    const bool whole = normalized.ends_with(" <E>");
    check(whole || normalized.size() == smart_reply::kMaxNormalizedBytes + 4, "only a cut one has no <E>", segment);
  }
}

void check_texts(Random& random) {
  for (int i = 0; i < kTexts; ++i) {
    const std::string text = make_text(random);
    const Exact exact(text);
    check_tokens(exact.view(), random);
    check_segments(exact.view());
    check(smart_reply::fingerprint64(exact.view()) == smart_reply::fingerprint64(text), "a hash of bytes only", text);
  }
}

// All instruction sets that this processor has give the same bits as the portable code.
void check_projections(Random& random) {
  using smart_reply::Instructions;
  for (int i = 0; i < kProjections; ++i) {
    std::vector<uint32_t> seeds(random.below(40));
    for (uint32_t& seed : seeds) seed = static_cast<uint32_t>(random.below(uint64_t{1} << 32));
    std::vector<int32_t> ids(random.below(20));
    std::vector<float> weights(ids.size());
    for (int32_t& id : ids) id = static_cast<int32_t>(random.below(1'000'000));
    for (float& weight : weights) weight = static_cast<float>(random.below(100)) / 7;
    const smart_reply::Features features = {ids.data(), weights.data(), ids.size()};
    std::vector<double> expected(seeds.size());
    smart_reply::projection_kernel(Instructions::kPortable)(seeds.data(), seeds.size(), features, expected.data());
    for (const Instructions instructions : {Instructions::kAvx2, Instructions::kAvx512}) {
      if (!smart_reply::is_supported(instructions)) continue;
      std::vector<double> sums(seeds.size());
      smart_reply::projection_kernel(instructions)(seeds.data(), seeds.size(), features, sums.data());
      const auto same = [](double a, double b) { return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b); };
      check(std::equal(sums.begin(), sums.end(), expected.begin(), same), "all kernels give the same bits");
    }
  }
}

}  // namespace
}  // namespace predictor

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : std::random_device{}();
  std::printf("text_fuzz: seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  predictor::Random random(seed);
  predictor::check_texts(random);
  predictor::check_projections(random);
  std::puts("text_fuzz: the rules hold for random bytes");
}
