#include "text/scores.h"

#include <bit>
#include <cstdint>

namespace predictor {

namespace {

void append_number(std::string& written, double number, bool big_endian) {
  const auto bits = std::bit_cast<uint64_t>(number);
  for (int i = 0; i < 8; ++i) written += static_cast<char>(bits >> 8 * (big_endian ? 7 - i : i));
}

}  // namespace

std::string ScoresForm::write(const Result& result) const {
  std::string written;
  if (*result.labels != labels) return written;
  size_t size = 8 * labels.size();
  for (const std::string& bytes : around) size += bytes.size();
  written.reserve(size);
  for (size_t i = 0; i < labels.size(); ++i) {
    written += around[i];
    append_number(written, result.values[i], big_endian);
  }
  return written += around.back();
}

}  // namespace predictor
