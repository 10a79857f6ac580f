// PackedMatrix's loops for processors with AMX, whose instructions multiply tiles: 16 rows of x with 16 columns of the
// matrix, 16 words of each. A panel of 32 columns lies in memory as two tiles beside each other, so the same packed
// matrix serves AVX-512 and AMX.
#pragma once

#include "kernels/gemm_loops.h"

#if defined(__x86_64__)

namespace predictor::kernels {

#define PREDICTOR_AMX __attribute__((target("amx-tile,amx-int8,amx-bf16,avx512f,avx512vnni,avx512bf16")))

inline constexpr size_t kTileRows = 16;

// What a tile's rows and columns are, as the instruction reads it.
class TileShapes {
 public:
  // For up to 2 * kTileRows rows of x: tiles 0 to 3 are the sums (of the first rows by the left and the right columns,
  // then of the others), 4 and 5 of the matrix, 6 and 7 of x.
  explicit TileShapes(size_t rows) {
    const size_t upper = std::min(rows, kTileRows);
    const size_t lower = std::max<size_t>(rows - upper, 1);  // a tile without rows is none
    for (size_t tile = 0; tile < 8; ++tile) row_bytes_[tile] = 64;
    for (const size_t tile : {0, 1, 6}) rows_[tile] = static_cast<uint8_t>(upper);
    for (const size_t tile : {2, 3, 7}) rows_[tile] = static_cast<uint8_t>(lower);
    for (const size_t tile : {4, 5}) rows_[tile] = kTileRows;
  }

  PREDICTOR_AMX void load() const { _tile_loadconfig(this); }

 private:
  uint8_t palette_ = 1;
  uint8_t start_row_ = 0;
  uint8_t reserved_[14] = {};
  uint16_t row_bytes_[16] = {};
  uint8_t rows_[16] = {};
};

static_assert(sizeof(TileShapes) == 64);

struct Int8Tiles {
  using Rest = Avx512Loop<Int8Step>;

  // The numbers of tiles are part of an instruction.
  PREDICTOR_AMX PREDICTOR_INLINE static void upper() {
    _tile_dpbusd(0, 6, 4);
    _tile_dpbusd(1, 6, 5);
  }
  PREDICTOR_AMX PREDICTOR_INLINE static void lower() {
    _tile_dpbusd(2, 7, 4);
    _tile_dpbusd(3, 7, 5);
  }
};

struct Bfloat16Tiles {
  using Rest = Avx512Loop<Bfloat16Step>;

  PREDICTOR_AMX PREDICTOR_INLINE static void upper() {
    _tile_dpbf16ps(0, 6, 4);
    _tile_dpbf16ps(1, 6, 5);
  }
  PREDICTOR_AMX PREDICTOR_INLINE static void lower() {
    _tile_dpbf16ps(2, 7, 4);
    _tile_dpbf16ps(3, 7, 5);
  }
};

// Words behind the last whole tile are left to the loop of AVX-512: the same ones for every row, so that a row's sums
// do not depend on the rows beside it.
template <typename Tiles>
struct AmxLoop {
  static constexpr size_t kRows = 2 * kTileRows;
  static constexpr size_t kColumns = 32;

  static void multiply(const Panel& panel, const char* x, size_t rows, char* y) {
    const size_t depth = panel.depth / kTileRows * kTileRows;
    if (depth == 0) return multiply_rows<typename Tiles::Rest>(panel, x, rows, y);
    if (panel.count == kColumns && depth == panel.depth) return multiply_whole(panel, x, rows, y);
    // A row of y may be too short for two tiles, and the sums go on: by a piece of the stack.
    alignas(64) char sums[kRows * kColumns * 4];
    for (size_t first = 0; first < rows; first += kRows) {
      const size_t count = std::min(rows - first, kRows);
      Panel part = panel;
      part.initial += first * panel.initial_step * 4;
      part.depth = depth;
      part.y_step = kColumns;
      part.count = kColumns;
      multiply_whole(part, x + first * panel.x_step * 4, count, sums);
      part.matrix += depth * kColumns * 4;
      part.initial = sums;
      part.initial_step = kColumns;
      part.depth = panel.depth - depth;
      part.y_step = panel.y_step;
      part.count = panel.count;
      multiply_rows<typename Tiles::Rest>(part, x + (first * panel.x_step + depth) * 4, count,
                                          y + first * panel.y_step * 4);
    }
  }

  PREDICTOR_AMX static void end() { _tile_release(); }

 private:
  static void multiply_whole(const Panel& panel, const char* x, size_t rows, char* y) {
    Panel rest = panel;
    rest.next_step = kColumns * 4 / passes_of<kRows>(rows);
    size_t first = 0;
    if (rows >= kRows) TileShapes(kRows).load();
    for (; first + kRows <= rows; first += kRows) {
      multiply_tiles<true>(rest, x, first, y);
      rest.next += rest.depth * rest.next_step;
    }
    if (first == rows) return;
    TileShapes(rows - first).load();
    rows - first > kTileRows ? multiply_tiles<true>(rest, x, first, y) : multiply_tiles<false>(rest, x, first, y);
  }

  template <bool Both>
  PREDICTOR_AMX static void multiply_tiles(const Panel& panel, const char* x, size_t first, char* y) {
    const size_t x_bytes = panel.x_step * 4;
    const size_t y_bytes = panel.y_step * 4;
    const size_t initial_bytes = panel.initial_step * 4;
    const char* const initial = panel.initial + first * initial_bytes;
    const char* matrix = panel.matrix;
    const char* next = panel.next;
    const char* upper = x + first * x_bytes;
    const char* lower = upper + kTileRows * x_bytes;
    asm volatile("" ::: "memory");  // which the compiler does not know to be read by tiles
    _tile_loadd(0, initial, initial_bytes);
    _tile_loadd(1, initial + 64, initial_bytes);
    if constexpr (Both) {
      _tile_loadd(2, initial + kTileRows * initial_bytes, initial_bytes);
      _tile_loadd(3, initial + kTileRows * initial_bytes + 64, initial_bytes);
    }
    for (size_t word = 0; word < panel.depth; word += kTileRows) {
      const char* const fetched = next + kTileRows * panel.next_step;
      for (; next < fetched; next += 64) _mm_prefetch(next, _MM_HINT_T1);
      _tile_loadd(4, matrix, kColumns * 4);
      _tile_loadd(5, matrix + 64, kColumns * 4);
      _tile_loadd(6, upper, x_bytes);
      Tiles::upper();
      if constexpr (Both) {
        _tile_loadd(7, lower, x_bytes);
        Tiles::lower();
      }
      matrix += kTileRows * kColumns * 4;
      upper += kTileRows * 4;
      lower += kTileRows * 4;
    }
    char* const out = y + first * y_bytes;
    _tile_stored(0, out, y_bytes);
    _tile_stored(1, out + 64, y_bytes);
    if constexpr (Both) {
      _tile_stored(2, out + kTileRows * y_bytes, y_bytes);
      _tile_stored(3, out + kTileRows * y_bytes + 64, y_bytes);
    }
  }
};

#undef PREDICTOR_AMX

}  // namespace predictor::kernels

#endif
