// Telling from the bytes received whether a reply is complete, and what it is.
//
// Thrift binary protocol: doc/specs/thrift-binary-protocol.md of Apache Thrift. HTTP/1.1: RFC 9112.

#pragma once

#include <strings.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

namespace loadgen {

constexpr std::size_t kMaxReplyBytes = 64U << 20;

enum class Outcome { incomplete, success, overloaded, error, malformed };

// Walks over Thrift's binary protocol. Past the end of what has arrived, or at bytes that cannot be, it stops for good:
// everything read after that is 0.
class ThriftReader {
 public:
  explicit ThriftReader(std::string_view bytes) : bytes_(bytes) {}

  bool good() const { return state_ == Outcome::success; }
  Outcome state() const { return state_; }
  std::size_t position() const { return position_; }

  uint64_t number(std::size_t size) {
    if (!take(size)) return 0;
    uint64_t value = 0;
    for (std::size_t i = position_ - size; i < position_; ++i) {
      value = value << 8 | static_cast<unsigned char>(bytes_[i]);
    }
    return value;
  }

  void skip_string() { take(number(4)); }

  void skip(uint64_t type, int depth = 0) {
    // Bytes of a value by its type: bool, byte, double, i16, i32, i64.
    constexpr std::array<std::size_t, 11> kSizes{0, 0, 1, 1, 8, 0, 2, 0, 4, 0, 8};
    if (type < kSizes.size() && kSizes[type] != 0) {
      take(kSizes[type]);
    } else if (type == 11) {
      skip_string();
    } else if (type == 12 && depth < kMaxDepth) {
      skip_struct(depth);
    } else if (type == 13 && depth < kMaxDepth) {
      const uint64_t key_type = number(1);
      skip_elements(key_type, number(1), depth);
    } else if ((type == 14 || type == 15) && depth < kMaxDepth) {  // set, list
      skip_elements(0, number(1), depth);
    } else {
      fail();
    }
  }

  // The next field's type, 0 at the end of the struct, and its id.
  std::pair<uint64_t, uint64_t> field() {
    const uint64_t type = number(1);
    return {type, type == 0 ? 0 : number(2)};
  }

 private:
  static constexpr int kMaxDepth = 16;

  void fail() {
    if (good()) state_ = Outcome::malformed;
  }

  bool take(uint64_t size) {
    if (!good()) return false;
    if (size > kMaxReplyBytes) {
      fail();
    } else if (size > bytes_.size() - position_) {
      state_ = Outcome::incomplete;
    } else {
      position_ += size;
    }
    return good();
  }

  void skip_struct(int depth) {
    for (auto [type, id] = field(); type != 0 && good(); std::tie(type, id) = field()) skip(type, depth + 1);
  }

  void skip_elements(uint64_t key_type, uint64_t value_type, int depth) {
    const uint64_t count = number(4);
    for (uint64_t i = 0; i < count && good(); ++i) {
      if (key_type != 0) skip(key_type, depth + 1);
      skip(value_type, depth + 1);
    }
  }

  std::string_view bytes_;
  std::size_t position_ = 0;
  Outcome state_ = Outcome::success;
};

// A PredictionError: field 1 is its code, and 4 is OVERLOADED.
inline Outcome read_prediction_error(ThriftReader& reader) {
  Outcome outcome = Outcome::error;
  for (auto [type, id] = reader.field(); type != 0 && reader.good(); std::tie(type, id) = reader.field()) {
    if (id == 1 && type == 8) {
      if (reader.number(4) == 4) outcome = Outcome::overloaded;
    } else {
      reader.skip(type);
    }
  }
  return outcome;
}

inline Outcome read_thrift_message(std::string_view bytes, uint32_t sequence_id, std::size_t& size) {
  ThriftReader reader(bytes);
  const uint64_t version = reader.number(4);
  reader.skip_string();
  const uint64_t answered = reader.number(4);
  Outcome outcome = Outcome::error;  // also what a TApplicationException is, whose message type is 3
  for (auto [type, id] = reader.field(); type != 0 && reader.good(); std::tie(type, id) = reader.field()) {
    const bool reply = version == 0x80010002U;
    if (reply && id == 1 && type == 12) {
      outcome = read_prediction_error(reader);
    } else {
      if (reply && id == 0) outcome = Outcome::success;
      reader.skip(type);
    }
  }
  if (!reader.good()) return reader.state();
  size = reader.position();
  const bool known = version == 0x80010002U || version == 0x80010003U;
  return known && answered == sequence_id ? outcome : Outcome::malformed;
}

inline Outcome read_thrift_frame(std::string_view bytes, uint32_t sequence_id, std::size_t& size) {
  ThriftReader head(bytes);
  const uint64_t length = head.number(4);
  if (!head.good()) return head.state();
  if (length > kMaxReplyBytes) return Outcome::malformed;
  if (bytes.size() < 4 + length) return Outcome::incomplete;
  const Outcome outcome = read_thrift_message(bytes.substr(4, length), sequence_id, size);
  if (outcome == Outcome::incomplete || size != length) return Outcome::malformed;
  size += 4;
  return outcome;
}

// The value of a header (its name in lower case), or nothing.
inline std::optional<std::string_view> header(std::string_view head, std::string_view name) {
  for (std::size_t start = head.find("\r\n"); start != std::string_view::npos; start = head.find("\r\n", start + 2)) {
    const std::string_view line = head.substr(start + 2, head.find("\r\n", start + 2) - start - 2);
    if (line.size() <= name.size() || line[name.size()] != ':') continue;
    if (strncasecmp(line.data(), name.data(), name.size()) != 0) continue;
    const std::size_t value = line.find_first_not_of(" \t", name.size() + 1);
    return value == std::string_view::npos ? std::string_view() : line.substr(value);
  }
  return std::nullopt;
}

// Where the chunks that begin at `position` end, without trailer fields; 0 while they are incomplete.
inline std::size_t end_of_chunks(std::string_view bytes, std::size_t position) {
  while (true) {
    const std::size_t line_end = bytes.find("\r\n", position);
    if (line_end == std::string_view::npos) return 0;
    const std::size_t chunk = std::strtoull(bytes.data() + position, nullptr, 16);
    position = line_end + 2 + std::min(chunk, kMaxReplyBytes) + 2;
    if (position > bytes.size()) return 0;
    if (chunk == 0) return position;
  }
}

inline Outcome read_http_reply(std::string_view bytes, std::size_t& size) {
  const std::size_t head_size = bytes.find("\r\n\r\n");
  if (head_size == std::string_view::npos) return Outcome::incomplete;
  const std::string_view head = bytes.substr(0, head_size);
  if (!head.starts_with("HTTP/1.") || head.size() < 12) return Outcome::malformed;
  const int status = std::atoi(head.data() + 9);
  if (const auto length = header(head, "content-length")) {
    size = head_size + 4 + std::min<std::size_t>(std::strtoull(length->data(), nullptr, 10), kMaxReplyBytes);
    if (size > bytes.size()) return Outcome::incomplete;
  } else if (header(head, "transfer-encoding")) {
    size = end_of_chunks(bytes, head_size + 4);
    if (size == 0) return Outcome::incomplete;
  } else {
    return Outcome::malformed;
  }
  if (status == 429) return Outcome::overloaded;
  return status >= 200 && status < 300 ? Outcome::success : Outcome::error;
}

}  // namespace loadgen
