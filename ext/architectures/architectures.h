// Each architecture's function, in a file of its own; registry.cc names them by model_type.
#pragma once

#include "architectures/text_transformer.h"
#include "transformer/execution.h"
#include "transformer/weight_reader.h"
#include "weights/config.h"

namespace predictor {

TextTransformer make_albert(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_bert(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_bloom(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_deberta_v2(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_distilbert(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_electra(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_falcon(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_gemma2(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_gemma3(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_gpt2(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_gpt_bigcode(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_gpt_neo(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_gpt_neox(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_gptj(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_gte(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_jina(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_llama(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_mistral(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_modernbert(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_mpnet(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_nomic_bert(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_opt(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_phi(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_phi3(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_qwen2(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_qwen3(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_qwen3_moe(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_roberta(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_smollm3(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_starcoder2(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_static(const Config& config, const WeightReader& weights, const Execution& execution);
TextTransformer make_t5_encoder(const Config& config, const WeightReader& weights, const Execution& execution);

}  // namespace predictor
