// Vectors of texts, and of their tokens: sentence-transformers' modules, in the order that the folder says.
#pragma once

#include <memory>
#include <vector>

#include "heads/head.h"
#include "heads/pooling.h"

namespace predictor {

// A step from rows to rows: Dense, LayerNorm, Normalize.
class VectorModule {
 public:
  virtual ~VectorModule() = default;
  virtual void apply(at::Tensor& x) const = 0;  // float32 [rows, size]
};

// The steps that `modules` describe; `size`: what comes in, and what comes out in the end. Throws ModelError.
std::vector<std::unique_ptr<VectorModule>> make_modules(const std::vector<Config>& modules, int64_t& size,
                                                        const WeightReader& weights);

class VectorHead : public Head {
 public:
  // {"modules": [...]}: one of them, the first but for those that work on tokens too, is "pooling". Throws ModelError.
  VectorHead(const Config& description, int64_t hidden_size, const WeightReader& weights);

  std::vector<Vector> apply(const at::Tensor& hidden, const TextBatch& batch) const override;
  int64_t columns() const override { return columns_; }

 private:
  at::Tensor pooled(const at::Tensor& tokens, const TextBatch& batch) const;

  std::vector<std::unique_ptr<VectorModule>> of_tokens_;
  std::vector<Pooling> poolings_;
  std::vector<std::unique_ptr<VectorModule>> of_texts_;
  int64_t columns_;
};

class TokenVectorHead : public Head {
 public:
  TokenVectorHead(const Config& description, int64_t hidden_size, const WeightReader& weights);

  std::vector<Vector> apply(const at::Tensor& hidden, const TextBatch& batch) const override;
  int64_t columns() const override { return columns_; }

 private:
  std::vector<std::unique_ptr<VectorModule>> modules_;
  int64_t columns_;
};

}  // namespace predictor
