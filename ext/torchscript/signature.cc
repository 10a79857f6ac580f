#include "torchscript/signature.h"

namespace predictor {

namespace {

using c10::ListType;
using c10::OptionalType;
using c10::TypePtr;

TypePtr without_optional(const TypePtr& type) {
  if (const auto optional = type->cast<OptionalType>()) return optional->getElementType();
  return type;
}

bool is_list_of_strings(const TypePtr& type) {
  return *type == *ListType::ofStrings();
}

bool is_list_of_lists_of_strings(const TypePtr& type) {
  const auto list = type->cast<ListType>();
  return list && is_list_of_strings(list->getElementType());
}

bool is_list_of_scores(const TypePtr& type) {
  const auto list = type->cast<ListType>();
  const auto dict = list ? list->getElementType()->cast<c10::DictType>() : nullptr;
  return dict && dict->getKeyType()->kind() == c10::TypeKind::StringType &&
         dict->getValueType()->kind() == c10::TypeKind::FloatType;
}

bool has_argument(const c10::FunctionSchema& schema, const std::string& name, bool (*of_type)(const TypePtr&)) {
  for (const c10::Argument& argument : schema.arguments()) {
    if (argument.name() == name) return of_type(without_optional(argument.type()));
  }
  return false;
}

std::string names_of(const c10::FunctionSchema& schema) {
  std::string names;
  for (size_t i = 1; i < schema.arguments().size(); ++i) {
    names += (i > 1 ? ", `" : "`") + schema.arguments()[i].name() + "`";
  }
  return names.empty() ? "no inputs" : names;
}

c10::List<std::string> texts_of(std::span<const Document* const> documents) {
  c10::List<std::string> texts;
  texts.reserve(documents.size());
  for (const Document* document : documents) texts.push_back(document->text);
  return texts;
}

c10::List<c10::List<std::string>> tokens_of(std::span<const Document* const> documents) {
  c10::List<c10::List<std::string>> batch;
  batch.reserve(documents.size());
  for (const Document* document : documents) {
    c10::List<std::string> tokens;
    tokens.reserve(document->tokens.size());
    for (const std::string& token : document->tokens) tokens.push_back(token);
    batch.push_back(std::move(tokens));
  }
  return batch;
}

}  // namespace

Signature::Signature(const torch::jit::Module& module) {
  const auto forward = module.find_method("forward");
  if (!forward) throw ModelError("the module has no method `forward`");
  const c10::FunctionSchema& schema = forward->function().getSchema();
  const bool has_texts = has_argument(schema, "texts", is_list_of_strings);
  const bool has_tokens = has_argument(schema, "tokens", is_list_of_lists_of_strings);
  takes_texts_ = has_texts && (module.hasattr("tensorizer") || !has_tokens);
  for (size_t i = 1; i < schema.arguments().size(); ++i) arguments_.push_back(plan(schema.arguments()[i]));
  if (!has_texts && !has_tokens) {
    throw ModelError("forward takes " + names_of(schema) +
                     ", but neither `texts: List[str]` nor `tokens: List[List[str]]`, which are what a call carries");
  }
  read_output(schema);
}

Signature::Argument Signature::plan(const c10::Argument& argument) const {
  const std::string& name = argument.name();
  const TypePtr type = without_optional(argument.type());
  if (name == "texts" && takes_texts_ && is_list_of_strings(type)) return {Source::texts, {}};
  if (name == "tokens" && !takes_texts_ && is_list_of_lists_of_strings(type)) return {Source::tokens, {}};
  if (argument.default_value()) return {Source::constant, *argument.default_value()};
  if (argument.type()->kind() == c10::TypeKind::OptionalType) return {Source::constant, c10::IValue()};
  // The oldest exports took plain lists and were given empty ones for what a call does not carry.
  const bool may_be_empty = name == "texts" || name == "multi_texts" || name == "tokens" || name == "languages";
  if (may_be_empty && is_list_of_strings(type)) return {Source::constant, c10::List<std::string>()};
  if (may_be_empty && is_list_of_lists_of_strings(type)) {
    return {Source::constant, c10::List<c10::List<std::string>>()};
  }
  throw ModelError("forward needs the input `" + name + ": " + argument.type()->annotation_str() +
                   "`, which a call does not carry");
}

void Signature::read_output(const c10::FunctionSchema& schema) {
  if (schema.returns().size() != 1) throw ModelError("forward does not return one value");
  const TypePtr returned = schema.returns()[0].type();
  TypePtr type = returned;
  if (const auto tuple = type->cast<c10::TupleType>(); tuple && !tuple->elements().empty()) {
    output_in_tuple_ = true;
    type = tuple->elements()[0];
  }
  const auto list = type->cast<ListType>();
  const TypePtr element = list ? list->getElementType() : nullptr;
  if (is_list_of_scores(type)) {
    output_ = OutputKind::labels;
  } else if (element && is_list_of_scores(element)) {
    output_ = OutputKind::label_sets;
  } else if (element && element->kind() == c10::TypeKind::FloatType) {
    output_ = OutputKind::score;
  } else if (type->kind() == c10::TypeKind::TensorType || (element && element->kind() == c10::TypeKind::TensorType)) {
    output_ = OutputKind::vectors;
  } else {
    throw ModelError("forward returns " + returned->annotation_str() +
                     "; List[Dict[str, float]], List[List[Dict[str, float]]], List[float], Tensor or List[Tensor] "
                     "can be served, alone or first in a tuple");
  }
}

std::vector<c10::IValue> Signature::arguments(std::span<const Document* const> documents) const {
  std::vector<c10::IValue> values;
  values.reserve(arguments_.size() + 1);  // self is put in front by the call
  for (const Argument& argument : arguments_) {
    switch (argument.source) {
      case Source::texts:
        values.emplace_back(texts_of(documents));
        break;
      case Source::tokens:
        values.emplace_back(tokens_of(documents));
        break;
      case Source::constant:
        values.push_back(argument.constant.deepcopy());  // a module may change a list that it is given
        break;
    }
  }
  return values;
}

}  // namespace predictor
