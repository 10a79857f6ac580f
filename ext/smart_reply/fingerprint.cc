#include "smart_reply/fingerprint.h"

#include <bit>
#include <cstring>
#include <utility>

namespace predictor::smart_reply {

namespace {

struct Pair {
  uint64_t first;
  uint64_t second;
};

template <typename Word>
uint64_t load(const char* at) {  // little endian, as the hash is defined
  Word word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

uint64_t load64(const char* at) {
  return load<uint64_t>(at);
}
uint64_t shift_mix(uint64_t value) {
  return value ^ (value >> 47);
}

uint64_t mix(uint64_t low, uint64_t high, uint64_t multiplier) {
  uint64_t a = shift_mix((low ^ high) * multiplier);
  return shift_mix((high ^ a) * multiplier) * multiplier;
}

uint64_t up_to_16(const char* s, size_t size) {
  uint64_t multiplier = kFarm2 + size * 2;
  if (size >= 8) {
    uint64_t a = load64(s) + kFarm2;
    uint64_t b = load64(s + size - 8);
    return mix(std::rotr(b, 37) * multiplier + a, (std::rotr(a, 25) + b) * multiplier, multiplier);
  }
  if (size >= 4) {
    return mix(size + (load<uint32_t>(s) << 3), load<uint32_t>(s + size - 4), multiplier);
  }
  if (size == 0) return kFarm2;
  uint64_t y = load<uint8_t>(s) + (load<uint8_t>(s + size / 2) << 8);
  uint64_t z = size + (load<uint8_t>(s + size - 1) << 2);
  return shift_mix(static_cast<uint32_t>(y) * kFarm2 ^ static_cast<uint32_t>(z) * kFarm0) * kFarm2;
}

uint64_t up_to_32(const char* s, size_t size) {
  uint64_t multiplier = kFarm2 + size * 2;
  uint64_t a = load64(s) * kFarm1;
  uint64_t b = load64(s + 8);
  uint64_t c = load64(s + size - 8) * multiplier;
  uint64_t d = load64(s + size - 16) * kFarm2;
  return mix(std::rotr(a + b, 43) + std::rotr(c, 30) + d, a + std::rotr(b + kFarm2, 18) + c, multiplier);
}

uint64_t up_to_64(const char* s, size_t size) {
  uint64_t multiplier = kFarm2 + size * 2;
  uint64_t a = load64(s) * kFarm2;
  uint64_t b = load64(s + 8);
  uint64_t c = load64(s + size - 8) * multiplier;
  uint64_t d = load64(s + size - 16) * kFarm2;
  uint64_t y = std::rotr(a + b, 43) + std::rotr(c, 30) + d;
  uint64_t z = mix(y, a + std::rotr(b + kFarm2, 18) + c, multiplier);
  uint64_t e = load64(s + 16) * multiplier;
  uint64_t f = load64(s + 24);
  uint64_t g = (y + load64(s + size - 32)) * multiplier;
  uint64_t h = (z + load64(s + size - 24)) * multiplier;
  return mix(std::rotr(e + f, 43) + std::rotr(g, 30) + h, e + std::rotr(f + a, 18) + g, multiplier);
}

Pair weak_mix(const char* s, uint64_t a, uint64_t b) {
  uint64_t first = load64(s), second = load64(s + 8), third = load64(s + 16), fourth = load64(s + 24);
  a += first;
  b = std::rotr(b + a + fourth, 21);
  uint64_t c = a;
  a += second + third;
  return {a + fourth, b + std::rotr(a, 44) + c};
}

// The state that runs over 64-byte blocks. `scale` is 1 but in the last block.
struct Blocks {
  uint64_t x, y, z;
  Pair v{0, 0}, w{0, 0};

  void add(const char* s, uint64_t multiplier, uint64_t scale) {
    x = std::rotr(x + y + v.first + load64(s + 8), 37) * multiplier;
    y = std::rotr(y + v.second + load64(s + 48), 42) * multiplier;
    x ^= w.second * scale;
    y += v.first * scale + load64(s + 40);
    z = std::rotr(z + w.first, 33) * multiplier;
    v = weak_mix(s, v.second * multiplier, x + w.first);
    w = weak_mix(s + 32, z + w.second, y + load64(s + 16));
    std::swap(z, x);
  }
};

uint64_t over_64(const char* s, size_t size) {
  constexpr uint64_t kSeed = 81;
  uint64_t y = kSeed * kFarm1 + 113;
  Blocks state{kSeed * kFarm2 + load64(s), y, shift_mix(y * kFarm2 + 113) * kFarm2};
  const char* end = s + size;
  for (size_t left = size; left > 64; left -= 64, s += 64) state.add(s, kFarm1, 1);
  uint64_t multiplier = kFarm1 + ((state.z & 0xff) << 1);
  state.w.first += (size - 1) & 63;
  state.v.first += state.w.first;
  state.w.first += state.v.first;
  state.add(end - 64, multiplier, 9);
  return mix(mix(state.v.first, state.w.first, multiplier) + shift_mix(state.y) * kFarm0 + state.z,
             mix(state.v.second, state.w.second, multiplier) + state.x, multiplier);
}

}  // namespace

uint64_t fingerprint64(std::string_view bytes) {
  if (bytes.size() <= 16) return up_to_16(bytes.data(), bytes.size());
  if (bytes.size() <= 32) return up_to_32(bytes.data(), bytes.size());
  if (bytes.size() <= 64) return up_to_64(bytes.data(), bytes.size());
  return over_64(bytes.data(), bytes.size());
}

}  // namespace predictor::smart_reply
