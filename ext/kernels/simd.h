// Sixteen floats at a time, in GCC's vector extension, and functions compiled once for each instruction set.
//
// A row's result depends on that row alone, not on how many rows there are or which one it is: every row is walked in
// the same steps. That is why these loops are here, beside libtorch's own, whose last elements are computed otherwise.
// For products of matrices there are packed_gemm.h and libraries: docs/generation.md, "What multiplies".
//
// Sixteen floats are one register of AVX-512, two of AVX2, four of SSE. GCC keeps a vector that is larger than a
// register in memory, which is 10 to 50 times as slow: so there Lanes are made of vectors that fit. A kernel is a
// template over them:
//
//     struct Double {
//       template <typename Floats>
//       PREDICTOR_INLINE static void run(float* x, size_t size) { ... }
//     };
//     void twice(float* x, size_t size) { dispatch<Double>(x, size); }
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define PREDICTOR_INLINE __attribute__((always_inline)) inline

namespace predictor::kernels {

inline constexpr size_t kVectorSize = 16;

// `count` rounded up to whole vectors.
inline constexpr size_t padded_to_vector(size_t count) {
  return (count + kVectorSize - 1) / kVectorSize * kVectorSize;
}

// Vectors of one register, and the others that go with them.
struct Register512 {
  using Floats = float __attribute__((vector_size(64)));
  using Ints = int32_t __attribute__((vector_size(64)));
  using Words = uint32_t __attribute__((vector_size(64)));
  using Halves = uint16_t __attribute__((vector_size(32)));
  using Bytes = uint8_t __attribute__((vector_size(16)));
};
struct Register256 {
  using Floats = float __attribute__((vector_size(32)));
  using Ints = int32_t __attribute__((vector_size(32)));
  using Words = uint32_t __attribute__((vector_size(32)));
  using Halves = uint16_t __attribute__((vector_size(16)));
  using Bytes = uint8_t __attribute__((vector_size(8)));
};
struct Register128 {
  using Floats = float __attribute__((vector_size(16)));
  using Ints = int32_t __attribute__((vector_size(16)));
  using Words = uint32_t __attribute__((vector_size(16)));
  using Halves = uint16_t __attribute__((vector_size(8)));
  using Bytes = uint8_t __attribute__((vector_size(4)));
};

// Two vectors, or two times two of them, as one.
template <typename Half>
struct Two {
  Half low;
  Half high;
};

template <typename Type>
inline constexpr bool is_two = false;
template <typename Half>
inline constexpr bool is_two<Two<Half>> = true;

#define PREDICTOR_OPERATOR(op)                                                \
  template <typename Half>                                                    \
  PREDICTOR_INLINE auto operator op(const Two<Half>& x, const Two<Half>& y) { \
    return Two<decltype(x.low op y.low)>{x.low op y.low, x.high op y.high};   \
  }                                                                           \
  template <typename Half, typename Number>                                   \
    requires std::is_arithmetic_v<Number>                                     \
  PREDICTOR_INLINE auto operator op(const Two<Half>& x, Number y) {           \
    return Two<decltype(x.low op y)>{x.low op y, x.high op y};                \
  }                                                                           \
  template <typename Half, typename Number>                                   \
    requires std::is_arithmetic_v<Number>                                     \
  PREDICTOR_INLINE auto operator op(Number x, const Two<Half>& y) {           \
    return Two<decltype(x op y.low)>{x op y.low, x op y.high};                \
  }
PREDICTOR_OPERATOR(+)
PREDICTOR_OPERATOR(-)
PREDICTOR_OPERATOR(*)
PREDICTOR_OPERATOR(/)
PREDICTOR_OPERATOR(<)
PREDICTOR_OPERATOR(>)
PREDICTOR_OPERATOR(==)
PREDICTOR_OPERATOR(&)
PREDICTOR_OPERATOR(|)
PREDICTOR_OPERATOR(<<)
PREDICTOR_OPERATOR(>>)
#undef PREDICTOR_OPERATOR

template <typename Half>
PREDICTOR_INLINE Two<Half> operator-(const Two<Half>& x) {
  return {-x.low, -x.high};
}
template <typename Half, typename Other>
PREDICTOR_INLINE void operator+=(Two<Half>& x, const Other& y) {
  x = x + y;
}
template <typename Half, typename Other>
PREDICTOR_INLINE void operator-=(Two<Half>& x, const Other& y) {
  x = x - y;
}
template <typename Half, typename Other>
PREDICTOR_INLINE void operator*=(Two<Half>& x, const Other& y) {
  x = x * y;
}

// Sixteen of each type, for an instruction set.
template <typename Floats_>
struct LanesOf;
template <>
struct LanesOf<Register512::Floats> : Register512 {};
template <>
struct LanesOf<Register256::Floats> : Register256 {};
template <>
struct LanesOf<Register128::Floats> : Register128 {};
template <typename Half>
struct LanesOf<Two<Half>> {
  using Ints = Two<typename LanesOf<Half>::Ints>;
  using Words = Two<typename LanesOf<Half>::Words>;
  using Halves = Two<typename LanesOf<Half>::Halves>;
  using Bytes = Two<typename LanesOf<Half>::Bytes>;
};

using Avx512Floats = Register512::Floats;
using Avx2Floats = Two<Register256::Floats>;
using BaselineFloats = Two<Two<Register128::Floats>>;

// Arguments and results are references: by value they would depend on the instruction set.

template <typename Lanes, typename Number>
PREDICTOR_INLINE void load(Lanes& lanes, const Number* from) {
  if constexpr (is_two<Lanes>) {
    load(lanes.low, from);
    load(lanes.high, from + sizeof lanes.low / sizeof *from);
  } else {
    std::memcpy(&lanes, from, sizeof lanes);
  }
}

template <typename Lanes, typename Number>
PREDICTOR_INLINE void store(const Lanes& lanes, Number* to) {
  if constexpr (is_two<Lanes>) {
    store(lanes.low, to);
    store(lanes.high, to + sizeof lanes.low / sizeof *to);
  } else {
    std::memcpy(to, &lanes, sizeof lanes);
  }
}

// The first of `left` that there are, the others `rest`.
template <typename Lanes, typename Number>
PREDICTOR_INLINE void load_up_to(Lanes& lanes, const Number* from, size_t left, Number rest) {
  if (left >= kVectorSize) {
    load(lanes, from);
    return;
  }
  Number numbers[kVectorSize];
  for (size_t i = 0; i < kVectorSize; ++i) numbers[i] = i < left ? from[i] : rest;
  load(lanes, numbers);
}

template <typename Lanes, typename Number>
PREDICTOR_INLINE void store_up_to(const Lanes& lanes, Number* to, size_t left) {
  if (left >= kVectorSize) {
    store(lanes, to);
    return;
  }
  Number numbers[kVectorSize];
  store(lanes, numbers);
  for (size_t i = 0; i < left; ++i) to[i] = numbers[i];
}

template <typename Lanes, typename Number>
PREDICTOR_INLINE void fill(Lanes& lanes, Number number) {
  lanes = Lanes{} + number;
}

// Where `mask` is set `x`, elsewhere `y`.
template <typename Mask, typename Lanes>
PREDICTOR_INLINE void select(const Mask& mask, const Lanes& x, const Lanes& y, Lanes& out) {
  if constexpr (is_two<Lanes>) {
    select(mask.low, x.low, y.low, out.low);
    select(mask.high, x.high, y.high, out.high);
  } else {
    out = mask ? x : y;
  }
}

// The same numbers in another type.
template <typename From, typename To>
PREDICTOR_INLINE void convert(const From& from, To& to) {
  if constexpr (is_two<From>) {
    convert(from.low, to.low);
    convert(from.high, to.high);
  } else {
    to = __builtin_convertvector(from, To);
  }
}

// The same bits in another type.
template <typename From, typename To>
PREDICTOR_INLINE void reinterpret(const From& from, To& to) {
  if constexpr (is_two<From>) {
    reinterpret(from.low, to.low);
    reinterpret(from.high, to.high);
  } else {
    to = (To)from;
  }
}

// Of x and y the greater; where one is NaN, y.
template <typename Floats>
PREDICTOR_INLINE void take_max(const Floats& x, const Floats& y, Floats& out) {
  select(x > y, x, y, out);
}

template <typename Floats>
PREDICTOR_INLINE void take_magnitude(const Floats& x, Floats& out) {
  select(x < 0.0f, -x, x, out);
}

// Halves onto each other, down to one number: in the same order for all instruction sets.
template <typename Floats>
PREDICTOR_INLINE float sum(const Floats& lanes) {
  if constexpr (is_two<Floats>) {
    return sum(lanes.low + lanes.high);
  } else if constexpr (sizeof lanes == 64) {
    const auto eight = __builtin_shufflevector(lanes, lanes, 0, 1, 2, 3, 4, 5, 6, 7) +
                       __builtin_shufflevector(lanes, lanes, 8, 9, 10, 11, 12, 13, 14, 15);
    return sum(eight);
  } else if constexpr (sizeof lanes == 32) {
    const auto four =
        __builtin_shufflevector(lanes, lanes, 0, 1, 2, 3) + __builtin_shufflevector(lanes, lanes, 4, 5, 6, 7);
    return sum(four);
  } else {
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
  }
}

// A NaN makes it NaN.
template <typename Floats>
PREDICTOR_INLINE float max_lane(const Floats& lanes) {
  float numbers[kVectorSize];
  store(lanes, numbers);
  float most = numbers[0];
  for (const float number : numbers) most = number > most || number != number ? number : most;
  return most;
}

// To whole numbers, of less than 2^22.
template <typename Floats>
PREDICTOR_INLINE void round(Floats& lanes) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23
  lanes = (lanes + kRounder) - kRounder;
}

// e to the power of each, to about 1e-7 of it; below -87 it is 0, above 88 as 88. After Cephes' expf: 2^n times a
// polynomial of what is left (https://netlib.org/cephes/).
template <typename Floats>
PREDICTOR_INLINE void exponential(Floats& x) {
  Floats least;
  Floats most;
  fill(least, -87.0f);
  fill(most, 88.0f);
  const auto too_low = x < least;
  select(too_low, least, x, x);
  select(x > most, most, x, x);
  Floats n = x * 1.44269504088896341f;
  round(n);
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  typename LanesOf<Floats>::Ints power;
  convert(n, power);
  power = (power + 127) << 23;
  Floats scale;
  reinterpret(power, scale);
  select(too_low, Floats{}, p * scale, x);
}

// Small numbers by Cephes' polynomial, since 1 - 2 / (e^2x + 1) has no more digits than 1 has.
template <typename Floats>
PREDICTOR_INLINE void hyperbolic_tangent(Floats& x) {
  Floats magnitude;
  take_magnitude(x, magnitude);
  const Floats square = x * x;
  Floats p = square * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  p = p * square * x + x;
  Floats e = magnitude * 2.0f;
  exponential(e);
  Floats large = 1.0f - 2.0f / (e + 1.0f);
  select(x < 0.0f, -large, large, large);
  select(magnitude < 0.625f, p, large, x);
}

// Kernel::run<Floats>(arguments...) for the best instruction set of the processor. The tests, which compile everything
// for one of them, define PREDICTOR_ONE_INSTRUCTION_SET.
#if defined(PREDICTOR_ONE_INSTRUCTION_SET) || !defined(__x86_64__) || defined(__clang__)

#if defined(__AVX512F__)
using NativeFloats = Avx512Floats;
#elif defined(__AVX2__)
using NativeFloats = Avx2Floats;
#else
using NativeFloats = BaselineFloats;
#endif

template <typename Kernel, typename... Arguments>
auto dispatch(Arguments... arguments) {
  return Kernel::template run<NativeFloats>(arguments...);
}

#else

template <typename Kernel, typename... Arguments>
__attribute__((target("arch=x86-64-v4"))) auto run_by_avx512(Arguments... arguments) {
  return Kernel::template run<Avx512Floats>(arguments...);
}
template <typename Kernel, typename... Arguments>
__attribute__((target("arch=x86-64-v3"))) auto run_by_avx2(Arguments... arguments) {
  return Kernel::template run<Avx2Floats>(arguments...);
}
template <typename Kernel, typename... Arguments>
auto run_by_baseline(Arguments... arguments) {
  return Kernel::template run<BaselineFloats>(arguments...);
}

template <typename Kernel, typename... Arguments>
auto dispatch(Arguments... arguments) {
  static const auto best = __builtin_cpu_supports("x86-64-v4")   ? run_by_avx512<Kernel, Arguments...>
                           : __builtin_cpu_supports("x86-64-v3") ? run_by_avx2<Kernel, Arguments...>
                                                                 : run_by_baseline<Kernel, Arguments...>;
  return best(arguments...);
}

#endif

}  // namespace predictor::kernels
