// The types of llama.cpp's files (GGUF) that keep numbers in blocks, each with a scale, and how a block is read.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace predictor {

struct GgmlBlocks {
  size_t numbers;  // in a block
  size_t bytes;    // of it
  void (*read)(const char* block, float* numbers);
};

// Of a type by ggml's name (Q8_0, Q4_K, ...); nullptr for any other.
const GgmlBlocks* ggml_blocks(std::string_view dtype);

// Their names, for messages.
std::string ggml_block_types();

}  // namespace predictor
