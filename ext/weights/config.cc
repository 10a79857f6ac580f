#include "weights/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "weights/model_error.h"

namespace predictor {

namespace {

// What changes neither what an encoder nor what a head computes.
constexpr std::array kHarmless{
    "_name_or_path",
    "model_type",
    "architectures",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "finetuning_task",
    "use_cache",
    "gradient_checkpointing",
    "initializer_range",
    "initializer_factor",
    "initializer_cutoff_factor",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "cls_token_id",
    "sep_token_id",
    "mask_token_id",
    "unk_token_id",
    "decoder_start_token_id",
    "output_past",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "return_dict_in_generate",
    "torchscript",
    "use_bfloat16",
    "tf_legacy_loss",
    "tie_word_embeddings",
    "tie_encoder_decoder",
    "tokenizer_class",
    "task_specific_params",
    "sentence_transformers",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_experts_implementation",
    "attn_implementation",
    "chunk_size_feed_forward",
    "prefix",
    "language",
    "directionality",
    "auto_map",
    "is_encoder_decoder",
    "model_max_length",
    "max_length",
    "min_length",
    "do_sample",
    "early_stopping",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "num_return_sequences",
    "output_scores",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
    "unsloth_version",
    "unsloth_fixed",
};

bool is_harmless(const std::string& field) {
  return std::find(kHarmless.begin(), kHarmless.end(), field) != kHarmless.end() ||
         field.find("dropout") != std::string::npos || field.find("_drop") != std::string::npos ||
         field.starts_with("summary_") || field.starts_with("pooler_") || field.ends_with("_pdrop");
}

bool is_empty(const Config::Value& value) {
  if (std::holds_alternative<std::monostate>(value.content)) return true;
  if (const auto* list = std::get_if<Config::List>(&value.content)) return list->empty();
  const auto* object = std::get_if<Config::Object>(&value.content);
  return object != nullptr && object->empty();
}

std::string shown(const Config::Value& value) {
  if (const auto* flag = std::get_if<bool>(&value.content)) return *flag ? "true" : "false";
  if (const auto* whole = std::get_if<int64_t>(&value.content)) return std::to_string(*whole);
  if (const auto* number = std::get_if<double>(&value.content)) return std::to_string(*number);
  if (const auto* text = std::get_if<std::string>(&value.content)) return '"' + text->substr(0, 80) + '"';
  return std::holds_alternative<Config::List>(value.content) ? "a list" : "an object";
}

}  // namespace

Config::Config(Object fields, std::string name)
    : fields_(std::move(fields)), name_(std::move(name)), read_(std::make_shared<std::set<std::string>>()) {}

const Config::Value* Config::find(const std::string& field) const {
  read_->insert(field);
  const auto found = fields_.find(field);
  if (found == fields_.end() || std::holds_alternative<std::monostate>(found->second.content)) return nullptr;
  return &found->second;
}

const Config::Value& Config::get(const std::string& field) const {
  const Value* const value = find(field);
  if (value == nullptr) throw ModelError(name_ + " has no " + field);
  return *value;
}

bool Config::has(const std::string& field) const {
  return find(field) != nullptr;
}

bool Config::is_text(const std::string& field) const {
  const Value* const value = find(field);
  return value != nullptr && std::holds_alternative<std::string>(value->content);
}

void Config::refuse(const std::string& field, const std::string& what) const {
  const Value* const value = find(field);
  throw ModelError(name_ + ": " + field + " is " + (value == nullptr ? "not there" : shown(*value)) + "; " + what);
}

int64_t Config::whole(const std::string& field, int64_t otherwise) const {
  const Value* const value = find(field);
  if (value == nullptr) return otherwise;
  const auto* whole = std::get_if<int64_t>(&value->content);
  if (whole == nullptr || *whole < -kMaxSize || *whole > kMaxSize) {
    refuse(field, "expected a whole number of at most " + std::to_string(kMaxSize));
  }
  return *whole;
}

int64_t Config::size(const std::string& field) const {
  get(field);
  return size(field, 0);
}

int64_t Config::size(const std::string& field, int64_t otherwise) const {
  if (!has(field)) return otherwise;
  const int64_t size = whole(field, 0);
  if (size < 1) refuse(field, "expected a whole number from 1 to " + std::to_string(kMaxSize));
  return size;
}

double Config::number(const std::string& field, double otherwise) const {
  const Value* const value = find(field);
  if (value == nullptr) return otherwise;
  if (const auto* whole = std::get_if<int64_t>(&value->content)) return static_cast<double>(*whole);
  const auto* number = std::get_if<double>(&value->content);
  if (number == nullptr || !std::isfinite(*number)) refuse(field, "expected a finite number");
  return *number;
}

bool Config::flag(const std::string& field, bool otherwise) const {
  const Value* const value = find(field);
  if (value == nullptr) return otherwise;
  const auto* flag = std::get_if<bool>(&value->content);
  if (flag == nullptr) refuse(field, "expected true or false");
  return *flag;
}

std::string Config::text(const std::string& field) const {
  get(field);
  return text(field, "");
}

std::string Config::text(const std::string& field, const std::string& otherwise) const {
  const Value* const value = find(field);
  if (value == nullptr) return otherwise;
  const auto* text = std::get_if<std::string>(&value->content);
  if (text == nullptr) refuse(field, "expected a string");
  return *text;
}

Config Config::object(const std::string& field) const {
  const auto* object = std::get_if<Object>(&get(field).content);
  if (object == nullptr) refuse(field, "expected an object");
  return Config(*object, name_ + ": " + field);
}

std::vector<Config> Config::objects(const std::string& field) const {
  const auto* list = std::get_if<List>(&get(field).content);
  if (list == nullptr) refuse(field, "expected a list of objects");
  std::vector<Config> objects;
  for (const Value& item : *list) {
    const auto* object = std::get_if<Object>(&item.content);
    if (object == nullptr) refuse(field, "expected a list of objects");
    objects.emplace_back(*object, name_ + ": " + field);
  }
  return objects;
}

std::vector<std::string> Config::texts(const std::string& field) const {
  const auto* list = std::get_if<List>(&get(field).content);
  if (list == nullptr) refuse(field, "expected a list of strings");
  std::vector<std::string> texts;
  for (const Value& item : *list) {
    const auto* text = std::get_if<std::string>(&item.content);
    if (text == nullptr) refuse(field, "expected a list of strings");
    texts.push_back(*text);
  }
  return texts;
}

std::vector<double> Config::numbers(const std::string& field) const {
  const auto* list = std::get_if<List>(&get(field).content);
  if (list == nullptr) refuse(field, "expected a list of numbers");
  std::vector<double> numbers;
  for (const Value& item : *list) {
    const auto* whole = std::get_if<int64_t>(&item.content);
    const auto* number = std::get_if<double>(&item.content);
    if (whole == nullptr && number == nullptr) refuse(field, "expected a list of numbers");
    numbers.push_back(whole != nullptr ? static_cast<double>(*whole) : *number);
  }
  return numbers;
}

std::string Config::any_of(std::initializer_list<const char*> fields) const {
  for (const char* field : fields) {
    if (has(field)) return field;
  }
  return *(fields.end() - 1);
}

void Config::expect(const std::string& field, const char* only) const {
  if (text(field, only) != only) refuse(field, std::string("only \"") + only + "\" is served");
}

void Config::expect(const std::string& field, bool only) const {
  if (flag(field, only) != only) refuse(field, std::string("only ") + (only ? "true" : "false") + " is served");
}

void Config::ignore(std::initializer_list<const char*> fields) const {
  read_->insert(fields.begin(), fields.end());
}

void Config::finish() const {
  for (const auto& [field, value] : fields_) {
    if (read_->contains(field) || is_harmless(field) || is_empty(value)) continue;
    refuse(field, "this server does not know what it changes, and refuses to guess");
  }
}

}  // namespace predictor
