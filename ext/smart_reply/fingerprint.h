// FarmHash Fingerprint64, the hash that the Smart Reply model was trained with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace predictor::smart_reply {

// Constants of FarmHash: large primes, and the multiplier that it uses for inputs of eight bytes.
inline constexpr uint64_t kFarm0 = 0xc3a5c85c97cb3127;
inline constexpr uint64_t kFarm1 = 0xb492b66fbe98f273;
inline constexpr uint64_t kFarm2 = 0x9ae16a3b2f90404f;
inline constexpr uint64_t kFarmOfEight = kFarm2 + 2 * 8;

// Fingerprint64 (the `farmhashna` function of google/farmhash, fixed for all time by its authors) of any bytes.
uint64_t fingerprint64(std::string_view bytes);

}  // namespace predictor::smart_reply
