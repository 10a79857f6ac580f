#include "architectures/registry.h"

#include <map>

#include "architectures/architectures.h"
#include "weights/model_error.h"

namespace predictor {

namespace {

struct Architecture {
  TextTransformer (*make)(const Config&, const WeightReader&, const Execution&);
  bool generates = false;   // it gives a language_head
  bool whole_texts = true;  // it is compared with its library as an encoder, too
};

const std::map<std::string, Architecture>& table() {
  static const std::map<std::string, Architecture> makers = {
      {"albert", {make_albert}},
      {"bert", {make_bert}},
      {"bloom", {make_bloom, true, false}},
      {"camembert", {make_roberta}},
      {"deberta-v2", {make_deberta_v2}},
      {"distilbert", {make_distilbert}},
      {"electra", {make_electra}},
      {"falcon", {make_falcon, true, false}},
      {"gemma2", {make_gemma2, true, false}},
      {"gemma3_text", {make_gemma3, true}},
      {"gpt2", {make_gpt2, true, false}},
      {"gpt_bigcode", {make_gpt_bigcode, true, false}},
      {"gpt_neo", {make_gpt_neo, true, false}},
      {"gpt_neox", {make_gpt_neox, true, false}},
      {"gptj", {make_gptj, true, false}},
      {"gte", {make_gte}},
      {"jina_embeddings_v3", {make_jina}},
      {"llama", {make_llama, true}},
      {"mistral", {make_mistral, true}},
      {"modernbert", {make_modernbert}},
      {"mpnet", {make_mpnet}},
      {"new", {make_gte}},
      {"nomic_bert", {make_nomic_bert}},
      {"opt", {make_opt, true, false}},
      {"phi", {make_phi, true, false}},
      {"phi3", {make_phi3, true, false}},
      {"qwen2", {make_qwen2, true}},
      {"qwen3", {make_qwen3, true}},
      {"qwen3_moe", {make_qwen3_moe, true, false}},
      {"roberta", {make_roberta}},
      {"smollm3", {make_smollm3, true, false}},
      {"starcoder2", {make_starcoder2, true, false}},
      {"static", {make_static}},
      {"t5", {make_t5_encoder}},
      {"xlm-roberta", {make_roberta}},
  };
  return makers;
}

}  // namespace

TextTransformer make_text_transformer(const Config& config, const WeightReader& weights, const Execution& execution) {
  const std::string type = config.text("model_type");
  const auto found = table().find(type);
  if (found == table().end()) {
    std::string served;
    for (const std::string& name : text_architectures()) served += (served.empty() ? "" : ", ") + name;
    throw ModelError("the architecture (model_type in config.json) is " + type.substr(0, 80) + "; served are " +
                     served);
  }
  if (config.has("quantization_config")) {
    config.refuse("quantization_config", "weights that are quantised already are not served; save them as floats");
  }
  TextTransformer made = found->second.make(config, weights, execution);
  config.finish();
  return made;
}

std::vector<std::string> text_architectures() {
  std::vector<std::string> names;
  for (const auto& [name, architecture] : table()) {
    if (architecture.whole_texts) names.push_back(name);
  }
  return names;
}

std::vector<std::string> generating_architectures() {
  std::vector<std::string> names;
  for (const auto& [name, architecture] : table()) {
    if (architecture.generates) names.push_back(name);
  }
  return names;
}

}  // namespace predictor
