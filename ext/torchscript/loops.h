// How often a module's code goes round.
#pragma once

#include <torch/script.h>

namespace predictor {

// Whether each loop of forward goes round no more often than the lengths of lists, and small numbers, let it: some ten
// thousand times in all for a few short texts. Not one that ends by a condition alone (`while`), or whose number of
// rounds is computed from what cannot be told, such as a text's words; nor what calls code that cannot be looked into.
// How long an operator takes is not known.
bool loops_are_short(const torch::jit::Module& module);

}  // namespace predictor
