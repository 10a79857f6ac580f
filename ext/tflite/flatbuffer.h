// Reads tables of a flatbuffer (https://flatbuffers.dev/internals) that schema_fault has found well formed.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace predictor::tflite {

// A table begins with the distance back to its vtable, which gives, from its fifth byte on, each field's place in the
// table, 0 for a field that is absent.
class Table {
 public:
  Table(std::string_view bytes, size_t at) : bytes_(bytes), at_(at) {}
  static Table root(std::string_view bytes) { return {bytes, read<uint32_t>(bytes, 0)}; }

  bool has(int field) const { return place(field) != 0; }

  // A field that is absent, or that the end of the file cuts, is `otherwise`.
  template <typename Number>
  Number number(int field, Number otherwise = 0) const {
    const size_t at = at_ + place(field);
    return at != at_ && bytes_.size() - at >= sizeof(Number) ? read<Number>(bytes_, at) : otherwise;
  }

  // A field that is present.
  Table table(int field) const { return {bytes_, target(field)}; }

  // Vectors and strings; empty when the field is absent.
  std::vector<Table> tables(int field) const {
    std::vector<Table> found;
    for (size_t at : elements(field)) found.emplace_back(bytes_, at + read<uint32_t>(bytes_, at));
    return found;
  }

  std::vector<int32_t> indices(int field) const {
    std::vector<int32_t> found;
    for (size_t at : elements(field)) found.push_back(read<int32_t>(bytes_, at));
    return found;
  }

  std::string_view bytes(int field) const {
    if (!has(field)) return {};
    const size_t at = target(field);
    return bytes_.substr(at + sizeof(uint32_t), read<uint32_t>(bytes_, at));
  }

 private:
  template <typename Number>
  static Number read(std::string_view bytes, size_t at) {
    Number number;
    std::memcpy(&number, bytes.data() + at, sizeof(number));
    return number;
  }

  // Of a vector of four-byte elements.
  std::vector<size_t> elements(int field) const {
    if (!has(field)) return {};
    const size_t at = target(field);
    std::vector<size_t> found(read<uint32_t>(bytes_, at));
    for (size_t i = 0; i < found.size(); ++i) found[i] = at + (i + 1) * sizeof(uint32_t);
    return found;
  }

  size_t target(int field) const {
    const size_t at = at_ + place(field);
    return at + read<uint32_t>(bytes_, at);
  }

  uint16_t place(int field) const {
    const size_t vtable = at_ - static_cast<size_t>(int64_t{read<int32_t>(bytes_, at_)});
    const size_t entry = 4 + 2 * static_cast<size_t>(field);
    return entry < read<uint16_t>(bytes_, vtable) ? read<uint16_t>(bytes_, vtable + entry) : 0;
  }

  std::string_view bytes_;
  size_t at_;
};

}  // namespace predictor::tflite
