#include "torchscript/loops.h"

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace predictor {

namespace {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;

constexpr double kLength = 16;  // of a list, a text or a tensor's side, where what comes in is short
constexpr double kMostRounds = 1 << 16;
constexpr double kUnknown = std::numeric_limits<double>::infinity();
// Of what it takes to find out: code may be made to be endless for its reader, too.
constexpr int kMostSteps = 100'000;
constexpr int kMostDepth = 200;

std::string_view name_of(const Node& node) {
  return node.kind().toQualString();
}

bool is_one_of(const Node& node, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name_of(node)) != names.end();
}

// How large the integers of a graph may get, whatever their sign.
class Magnitudes {
 public:
  double of(const Value* value) {
    if (++steps_ > kMostSteps || depth_ > kMostDepth) return kUnknown;
    if (std::find(open_.begin(), open_.end(), value) != open_.end()) {  // a variable that a loop changes, by itself
      met_.push_back(value);
      return 0;
    }
    ++depth_;
    open_.push_back(value);
    const double magnitude = found(*value);
    open_.pop_back();
    met_.erase(std::remove(met_.begin(), met_.end(), value), met_.end());
    --depth_;
    return magnitude;
  }

 private:
  double found(const Value& value) {
    const Node& node = *value.node();
    if (node.kind() == c10::prim::Param) return of_parameter(value);
    if (node.kind() == c10::prim::Loop) return changed_by_loop(node, value.offset());
    if (node.kind() == c10::prim::If) {
      return std::max(of(node.blocks()[0]->outputs()[value.offset()]), of(node.blocks()[1]->outputs()[value.offset()]));
    }
    if (const auto constant = torch::jit::toIValue(&value)) {
      return constant->isInt() ? std::abs(static_cast<double>(constant->toInt())) : kUnknown;
    }
    return of_operator(node);
  }

  // Of a loop's body: the number of the round, then the variables.
  double of_parameter(const Value& value) {
    const Node* loop = value.node()->owningBlock()->owningNode();
    if (loop == nullptr || loop->kind() != c10::prim::Loop) return kUnknown;
    return value.offset() == 0 ? of(loop->input(0)) : changed_by_loop(*loop, value.offset() - 1);
  }

  // A loop's inputs are rounds, condition, variables; its body's outputs condition, variables.
  double changed_by_loop(const Node& loop, size_t variable) {
    return std::max(of(loop.input(variable + 2)), of(loop.blocks()[0]->outputs()[variable + 1]));
  }

  double of_operator(const Node& node) {
    if (is_one_of(node, {"aten::len"})) return name_of(*node.input(0)->node()) == "aten::mul" ? kUnknown : kLength;
    if (is_one_of(node, {"aten::size", "aten::dim"}) && node.output()->type()->kind() == c10::TypeKind::IntType) {
      return kLength;
    }
    if (is_one_of(node, {"prim::min"})) {
      const Node& operands = node.inputs().size() == 1 ? *node.input(0)->node() : node;
      // enumerate() is the shorter of a list and the largest number there is
      if (all_not_negative(operands)) return smallest(operands);
    }
    if (is_one_of(node, {"prim::min", "prim::max"})) {
      return node.inputs().size() == 1 ? of_items(*node.input(0)) : std::max(of(node.input(0)), of(node.input(1)));
    }
    if (is_one_of(node, {"prim::unchecked_cast", "prim::unchecked_unwrap_optional"})) return of(node.input(0));
    if (is_one_of(node, {"aten::__getitem__"})) return of_items(*node.input(0));
    return of_arithmetic(node);
  }

  static bool all_not_negative(const Node& operands) {
    const auto values = operands.inputs();
    return std::all_of(values.begin(), values.end(), [](const Value* value) {
      const auto constant = torch::jit::toIValue(value);
      return constant ? constant->isInt() && constant->toInt() >= 0 : is_one_of(*value->node(), {"aten::len"});
    });
  }
  double smallest(const Node& operands) {
    double least = kUnknown;
    for (const Value* value : operands.inputs()) least = std::min(least, of(value));
    return least;
  }

  // A sum that a loop adds to itself is as large as the loop is long, and a product larger: that is not followed.
  double of_arithmetic(const Node& node) {
    const size_t met = met_.size();
    double magnitude = kUnknown;
    if (is_one_of(node, {"aten::neg", "aten::floordiv"})) magnitude = of(node.input(0));
    if (is_one_of(node, {"aten::add", "aten::sub", "aten::__range_length"})) {
      magnitude = of(node.input(0)) + of(node.input(1));
    }
    if (is_one_of(node, {"aten::mul"})) magnitude = of(node.input(0)) * of(node.input(1));
    return met_.size() > met ? kUnknown : magnitude;
  }

  // Of a list that is made here, and used in no way that could put in what is not seen.
  double of_items(const Value& list) {
    if (list.node()->kind() != c10::prim::ListConstruct) return kUnknown;
    double most = 0;
    for (const Value* item : list.node()->inputs()) most = std::max(most, of(item));
    for (const torch::jit::Use& use : list.uses()) {
      if (is_one_of(*use.user, {"aten::append"}) && use.offset == 0) {
        most = std::max(most, of(use.user->input(1)));
      } else if (!is_one_of(*use.user, {"aten::__getitem__", "aten::len", "prim::min", "prim::max", "aten::tensor"})) {
        return kUnknown;
      }
    }
    return most;
  }

  int steps_ = 0;
  int depth_ = 0;
  std::vector<const Value*> open_;  // that are being looked into
  std::vector<const Value*> met_;   // of these, those that were met again
};

class Rounds {
 public:
  // Whether those of the block are few, where the block itself is run so many times.
  bool are_few(const Block& block, double times) {
    return std::all_of(block.nodes().begin(), block.nodes().end(),
                       [&](const Node* node) { return are_few(*node, times); });
  }

 private:
  bool are_few(const Node& node, double times) {
    if (node.kind() == c10::prim::CallMethod || node.kind() == c10::prim::CallFunction) return false;
    if (node.hasAttribute(c10::attr::Subgraph)) return false;  // as of what runs beside the rest
    if (node.kind() == c10::prim::Loop) {
      times *= std::max(1.0, magnitudes_.of(node.input(0)));
      rounds_ += times;
      if (!(rounds_ <= kMostRounds)) return false;
    }
    const auto blocks = node.blocks();
    return std::all_of(blocks.begin(), blocks.end(), [&](const Block* inside) { return are_few(*inside, times); });
  }

  Magnitudes magnitudes_;
  double rounds_ = 0;
};

}  // namespace

bool loops_are_short(const torch::jit::Module& module) {
  const auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  return Rounds().are_few(*graph->block(), 1);
}

}  // namespace predictor
