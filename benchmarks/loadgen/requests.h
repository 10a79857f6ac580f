// The requests, encoded once: documents from a file as Thrift binary messages or HTTP requests.

#pragma once

#include <array>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "options.h"

namespace loadgen {

constexpr std::size_t kMaxDocuments = 1'000'000;

inline void append_big_endian(std::string& out, uint32_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
}

inline void append_thrift_string(std::string& out, std::string_view text) {
  append_big_endian(out, static_cast<uint32_t>(text.size()), 4);
  out += text;
}

inline std::string thrift_request(const Options& options, std::string_view document, uint32_t sequence_id) {
  std::string message;
  append_big_endian(message, 0x80010001U, 4);  // strict version 1, a call
  append_thrift_string(message, options.method);
  append_big_endian(message, sequence_id, 4);
  const std::string_view method = options.method;
  const bool listed = method.ends_with("_batch") || method.ends_with("_matrix");
  message += listed ? '\x0f' : '\x0b';  // a list or a string, the argument 1
  append_big_endian(message, 1, 2);
  if (listed) {
    message += '\x0b';
    append_big_endian(message, 1, 4);
  }
  append_thrift_string(message, document);
  message += '\0';
  if (options.protocol == Protocol::thrift) return message;
  std::string frame;
  append_thrift_string(frame, message);
  return frame;
}

inline std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const unsigned char byte : text) {
    if (std::isalnum(byte) != 0 || std::string_view("-._~").find(static_cast<char>(byte)) != std::string_view::npos) {
      out += static_cast<char>(byte);
    } else {
      std::array<char, 4> code{};
      std::snprintf(code.data(), code.size(), "%%%02X", byte);
      out += code.data();
    }
  }
  return out;
}

inline std::string json_body(std::string_view field, std::string_view document) {
  std::string out = "{\"" + std::string(field) + "\": \"";
  for (const unsigned char byte : document) {
    if (byte == '"' || byte == '\\') out += '\\';
    if (byte >= 0x20) {
      out += static_cast<char>(byte);
    } else {
      std::array<char, 7> code{};
      std::snprintf(code.data(), code.size(), "\\u%04x", byte);
      out += code.data();
    }
  }
  return out + "\"}";
}

inline std::string http_request(const Options& options, std::string_view document) {
  const std::string host = " HTTP/1.1\r\nHost: " + options.host + "\r\n";
  if (options.protocol == Protocol::http_get) {
    return "GET " + options.path + "?doc=" + percent_encoded(document) + host + "\r\n";
  }
  const std::string body = json_body(options.field, document);
  return "POST " + options.path + host +
         "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

// The sequence id is the document's number from 1 on, so that an answer to another document is noticed.
inline std::vector<std::string> read_requests(const Options& options) {
  std::ifstream file(options.documents);
  if (!file) throw std::runtime_error("--documents: cannot read " + options.documents);
  std::vector<std::string> requests;
  for (std::string line; std::getline(file, line);) {
    if (requests.size() == kMaxDocuments) throw std::runtime_error("--documents: more than 1000000 lines");
    const bool thrift = options.protocol <= Protocol::thrift_framed;
    requests.push_back(thrift ? thrift_request(options, line, static_cast<uint32_t>(requests.size() + 1))
                              : http_request(options, line));
  }
  if (requests.empty()) throw std::runtime_error("--documents: " + options.documents + " is empty");
  return requests;
}

}  // namespace loadgen
