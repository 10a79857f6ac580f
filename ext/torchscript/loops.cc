#include "torchscript/loops.h"

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <algorithm>
#include <limits>

namespace predictor {

namespace {

// A `while` is a loop of the largest number of rounds that there is.
bool is_endless(const torch::jit::Node& node) {
  if (node.kind() == c10::prim::CallMethod || node.kind() == c10::prim::CallFunction) return true;
  if (node.kind() != c10::prim::Loop) return false;
  const std::optional<c10::IValue> rounds = torch::jit::toIValue(node.input(0));
  return rounds && rounds->toInt() == std::numeric_limits<int64_t>::max();
}

bool has_endless(const torch::jit::Block& block) {
  return std::any_of(block.nodes().begin(), block.nodes().end(), [](const torch::jit::Node* node) {
    const auto inside = node->blocks();
    return is_endless(*node) ||
           std::any_of(inside.begin(), inside.end(), [](const torch::jit::Block* each) { return has_endless(*each); });
  });
}

}  // namespace

bool may_loop_for_ever(const torch::jit::Module& module) {
  const auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  return has_endless(*graph->block());
}

}  // namespace predictor
