// One product of matrices for all maps of a convolution: each tile of the result is a
// sum over pairs of blocks, and a list says which blocks meet.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace jaxlab {

// Registers of the machine: a tile is kRows x kLanes, two vectors wide.
#if defined(__AVX512F__)
constexpr int kVector = 16, kRows = 8;
#elif defined(__AVX__)
constexpr int kVector = 8, kRows = 4;
#else
constexpr int kVector = 4, kRows = 8;
#endif
constexpr int kLanes = 2 * kVector;
typedef float Vector __attribute__((vector_size(4 * kVector)));

// An array seen as values[cell][depth][lane]; the product sums over depth. Cells are
// pixels or entries of a kernel.
struct Operand {
  const float* data;
  int64_t cells, depth, lanes;
  int64_t cell_stride, depth_stride, lane_stride;
};

// The same for what is found: values[cell][row][lane].
struct Result {
  float* data;
  int64_t cells;
  int64_t cell_stride, row_stride, lane_stride;
};

// Blocks that meet in one cell of the result: a cell of the left operand and one of the
// right.
struct Pair {
  int32_t left, right;
};

// The pairs of each cell c of the result: pairs[begin[c]] to pairs[begin[c + 1]].
struct Meetings {
  std::vector<int64_t> begin{0};
  std::vector<Pair> pairs;
};

// An operand laid out as the tiles read it: [panel][cell][depth][width], of which a
// panel holds `width` lanes; lanes that are not there are zero.
struct Packed {
  const float* data;
  int64_t width, panels, cells, depth;

  int64_t block() const { return depth * width; }
  const float* panel(int64_t p) const { return data + p * cells * block(); }
};

inline int64_t CountPanels(int64_t lanes, int64_t width) {
  return (lanes + width - 1) / width;
}

inline int64_t PackedSize(const Operand& x, int64_t width) {
  return CountPanels(x.lanes, width) * width * x.cells * x.depth;
}

// Packs one cell of one panel. All strides are either 1 or large.
template <int kWidth>
void PackBlock(const Operand& x, int64_t panel, int64_t cell, float* to) {
  const int64_t first = panel * kWidth;
  const int64_t count = std::min<int64_t>(kWidth, x.lanes - first);
  const float* from = x.data + cell * x.cell_stride + first * x.lane_stride;
  if (count < kWidth) std::fill_n(to, x.depth * kWidth, 0.0f);
  if (x.lane_stride == 1) {
    for (int64_t k = 0; k < x.depth; ++k, from += x.depth_stride, to += kWidth) {
      if (count == kWidth) {
        std::memcpy(to, from, kWidth * sizeof(float));
      } else {
        std::copy_n(from, count, to);
      }
    }
  } else if (count == kWidth) {
    for (int64_t k = 0; k < x.depth; ++k, from += x.depth_stride, to += kWidth) {
      for (int lane = 0; lane < kWidth; ++lane) to[lane] = from[lane * x.lane_stride];
    }
  } else {
    for (int64_t k = 0; k < x.depth; ++k, from += x.depth_stride, to += kWidth) {
      for (int64_t lane = 0; lane < count; ++lane) to[lane] = from[lane * x.lane_stride];
    }
  }
}

// Finds one tile; the sums stay in registers over all pairs.
template <int kTileRows, int kVectors>
void AddTile(const Pair* pair, const Pair* end, const float* left, int64_t left_block,
             const float* right, int64_t right_block, int64_t depth, float* to) {
  Vector sums[kTileRows][kVectors] = {};
  for (; pair < end; ++pair) {
    const float* a = left + pair->left * left_block;
    const float* b = right + pair->right * right_block;
    for (int64_t k = 0; k < depth; ++k, a += kRows, b += kLanes) {
      Vector lanes[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) std::memcpy(&lanes[v], b + v * kVector, sizeof(Vector));
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sums[r][v] += a[r] * lanes[v];
      }
    }
  }
  for (int r = 0; r < kTileRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      std::memcpy(to + r * kLanes + v * kVector, &sums[r][v], sizeof(Vector));
    }
  }
}

// Finds the tiles of a pair of panels for cells [begin, end) of the result.
inline void MultiplyPanels(const Packed& left, int64_t left_panel, int64_t rows,
                           const Packed& right, int64_t right_panel, int64_t lanes,
                           const Meetings& meetings, int64_t begin, int64_t end,
                           const Result& result) {
  const int64_t row = left_panel * kRows, lane = right_panel * kLanes;
  rows = std::min<int64_t>(kRows, rows - row);
  lanes = std::min<int64_t>(kLanes, lanes - lane);
  constexpr int kHalf = kRows / 2;
  const auto add = rows <= kHalf
                       ? (lanes <= kVector ? AddTile<kHalf, 1> : AddTile<kHalf, 2>)
                       : (lanes <= kVector ? AddTile<kRows, 1> : AddTile<kRows, 2>);
  alignas(64) float tile[kRows * kLanes];
  for (int64_t cell = begin; cell < end; ++cell) {
    const Pair* pairs = meetings.pairs.data();
    add(pairs + meetings.begin[cell], pairs + meetings.begin[cell + 1],
        left.panel(left_panel), left.block(), right.panel(right_panel), right.block(),
        left.depth, tile);
    float* to = result.data + cell * result.cell_stride + row * result.row_stride +
                lane * result.lane_stride;
    for (int64_t r = 0; r < rows; ++r, to += result.row_stride) {
      const float* from = tile + r * kLanes;
      if (result.lane_stride == 1) {
        std::copy_n(from, lanes, to);
      } else {
        for (int64_t l = 0; l < lanes; ++l) to[l * result.lane_stride] = from[l];
      }
    }
  }
}

}  // namespace jaxlab
