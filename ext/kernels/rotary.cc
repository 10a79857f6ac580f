#include "kernels/rotary.h"

#include "kernels/simd.h"

namespace predictor::kernels {

namespace {

struct Rotate {
  template <typename Floats>
  PREDICTOR_INLINE static void run(float* heads_of_token, const float* cos, const float* sin, size_t heads,
                                   size_t head_size, size_t rotated) {
    const size_t half = rotated / 2;
    Floats x1;
    Floats x2;
    Floats c;
    Floats s;
    for (size_t head = 0; head < heads; ++head) {
      float* const first = heads_of_token + head * head_size;
      float* const second = first + half;
      for (size_t i = 0; i < half; i += kVectorSize) {
        load_up_to(x1, first + i, half - i, 0.0f);
        load_up_to(x2, second + i, half - i, 0.0f);
        load_up_to(c, cos + i, half - i, 0.0f);
        load_up_to(s, sin + i, half - i, 0.0f);
        store_up_to(x1 * c - x2 * s, first + i, half - i);
        store_up_to(x2 * c + x1 * s, second + i, half - i);
      }
    }
  }
};

}  // namespace

void rotate(float* heads_of_token, const float* cos, const float* sin, size_t heads, size_t head_size, size_t rotated) {
  dispatch<Rotate>(heads_of_token, cos, sin, heads, head_size, rotated);
}

void rotate_pairs(float* heads_of_token, const float* cos, const float* sin, size_t heads, size_t head_size,
                  size_t rotated) {
  for (size_t head = 0; head < heads; ++head) {
    float* const numbers = heads_of_token + head * head_size;
    for (size_t i = 0; i < rotated / 2; ++i) {
      const float x1 = numbers[2 * i];
      const float x2 = numbers[2 * i + 1];
      numbers[2 * i] = x1 * cos[i] - x2 * sin[i];
      numbers[2 * i + 1] = x2 * cos[i] + x1 * sin[i];
    }
  }
}

}  // namespace predictor::kernels
