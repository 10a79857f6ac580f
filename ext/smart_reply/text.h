// The text rules of the Smart Reply model: how a message is cut into segments and a segment normalized.
//
// The rules are those of the operators that the model was published with, which write them as RE2 patterns applied one
// after the other; what reads oddly here (which white space, what a replacement consumes) is what those patterns do.
// Text is bytes: everything from 0x80 up is an ordinary character, so any bytes are valid input.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace predictor::smart_reply {

inline constexpr size_t kMaxNormalizedBytes = 300;
inline constexpr std::string_view kStart = "<S>";
inline constexpr std::string_view kEnd = "<E>";

// Cuts a message after each run of ? . ! , that white space follows, and at tabs. A space is put before each run, the
// run becomes its last character, and spaces are squeezed. There is always at least one segment, perhaps an empty one.
std::vector<std::string> segments(std::string_view message);

// A segment in the model's form, `<S> text <E>`: lower-case, contractions written out, ? and ! set apart. More than
// kMaxNormalizedBytes bytes are cut to that number, and then `<E>` is left out.
std::string normalized(std::string_view segment);

}  // namespace predictor::smart_reply
