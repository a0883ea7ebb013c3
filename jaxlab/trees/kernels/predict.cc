// Sums of all trees' leaf values for binned rows.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "team.h"

namespace jaxlab {
namespace {

namespace ffi = xla::ffi;

struct Step {  // one node, 8 bytes
  uint16_t feature;
  uint8_t bin, missing_left;
  int32_t left;  // left child, itself for a leaf
};

constexpr int kRows = 16;  // walked side by side, to hide the latency of each step

struct Walk {
  const uint8_t* bins;
  int64_t num_features;
  uint8_t missing;
  const uint32_t* left_bins;  // of one tree, a bit for each bin; for kSets

  // One step of a row. A leaf stays: feature 0, bin 255, missing left, to itself.
  template <bool kSets>
  int32_t Next(const Step* tree, int32_t at, const uint8_t* row) const {
    const Step s = tree[at];
    const uint8_t bin = row[s.feature];
    if (kSets) {
      const uint32_t word = left_bins[8 * at + (bin >> 5)];
      return s.left + (s.left != at && !(word >> (bin & 31) & 1));
    }
    const bool right = bin == missing ? !s.missing_left : bin > s.bin;
    return s.left + right;
  }

  // Adds the leaves of one tree to the rows from `begin` to `end`.
  template <bool kSets>
  void Add(const Step* tree, int depth, const float* values, int64_t begin, int64_t end,
           float* to) const {
    int64_t i = begin;
    for (; i + kRows <= end; i += kRows) {
      const uint8_t* row = bins + i * num_features;
      int32_t at[kRows] = {};
      for (int d = 0; d < depth; ++d) {
#pragma GCC unroll 16
        for (int k = 0; k < kRows; ++k) {
          at[k] = Next<kSets>(tree, at[k], row + k * num_features);
        }
      }
      for (int k = 0; k < kRows; ++k) to[i + k] += values[at[k]];
    }
    for (; i < end; ++i) {
      int32_t at = 0;
      for (int d = 0; d < depth; ++d) at = Next<kSets>(tree, at, bins + i * num_features);
      to[i] += values[at];
    }
  }
};

ffi::Error Predict(ffi::ThreadPool pool, ffi::BufferR2<ffi::U8> bins,
                   ffi::BufferR1<ffi::S32> num_rows, ffi::BufferR3<ffi::S32> node,
                   ffi::BufferR3<ffi::U32> left_bins,
                   ffi::BufferR2<ffi::F32> value, ffi::BufferR1<ffi::S32> output,
                   ffi::BufferR1<ffi::S32> num_trees, ffi::BufferR2<ffi::F32> start,
                   ffi::ResultBufferR2<ffi::F32> raw, int64_t num_bins, bool has_sets) {
  return Guarded([&] {
    const int64_t rows = bins.dimensions()[0], features = bins.dimensions()[1];
    const int64_t used = num_rows.typed_data()[0], trees = num_trees.typed_data()[0];
    const int64_t nodes = node.dimensions()[2];
    const int32_t* n = node.typed_data();
    std::vector<Step> steps(trees * nodes);
    std::vector<int32_t> depth(trees, 0);
    Team team(pool, std::max<int64_t>(1, used * trees / 4096));
    team.Run(trees, [&](int64_t t, int64_t) {
      const int32_t* left = n + t * 4 * nodes;
      std::vector<int32_t> level(nodes, 0);
      for (int64_t q = 0; q < nodes; ++q) {
        Step& s = steps[t * nodes + q];
        if (left[q] <= 0) {
          s = {0, 255, 1, static_cast<int32_t>(q)};
          continue;
        }
        s = {static_cast<uint16_t>(left[nodes + q]), static_cast<uint8_t>(left[2 * nodes + q]),
             static_cast<uint8_t>(left[3 * nodes + q]), left[q]};
        level[left[q]] = level[left[q] + 1] = level[q] + 1;
        depth[t] = std::max(depth[t], level[q] + 1);
      }
    });
    float* out = raw->typed_data();
    std::memcpy(out, start.typed_data(), raw->size_bytes());
    constexpr int64_t kBlock = 1024;  // rows that stay in the cache for all trees
    team.Run((used + kBlock - 1) / kBlock, [&](int64_t block, int64_t) {
      const int64_t begin = block * kBlock, end = std::min(used, begin + kBlock);
      for (int64_t t = 0; t < trees; ++t) {
        const Walk walk{bins.typed_data(), features, static_cast<uint8_t>(num_bins - 1),
                        left_bins.typed_data() + 8 * t * nodes};
        const Step* tree = steps.data() + t * nodes;
        const float* values = value.typed_data() + t * nodes;
        float* to = out + output.typed_data()[t] * rows;
        has_sets ? walk.Add<true>(tree, depth[t], values, begin, end, to)
                 : walk.Add<false>(tree, depth[t], values, begin, end, to);
      }
    });
  });
}

}  // namespace
}  // namespace jaxlab

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    JaxlabPredict, jaxlab::Predict,
    xla::ffi::Ffi::Bind()
        .Ctx<xla::ffi::ThreadPool>()
        .Arg<xla::ffi::BufferR2<xla::ffi::U8>>()   // bins [rows, features]
        .Arg<xla::ffi::BufferR1<xla::ffi::S32>>()  // number of rows in use
        .Arg<xla::ffi::BufferR3<xla::ffi::S32>>()  // [trees, 4, nodes]: left, feature, bin, missing
        .Arg<xla::ffi::BufferR3<xla::ffi::U32>>()  // [trees, nodes, 8]: bins that go left
        .Arg<xla::ffi::BufferR2<xla::ffi::F32>>()  // value [trees, nodes]
        .Arg<xla::ffi::BufferR1<xla::ffi::S32>>()  // output of each tree
        .Arg<xla::ffi::BufferR1<xla::ffi::S32>>()  // number of trees in use
        .Arg<xla::ffi::BufferR2<xla::ffi::F32>>()  // start [outputs, rows]
        .Ret<xla::ffi::BufferR2<xla::ffi::F32>>()  // raw score [outputs, rows]
        .Attr<int64_t>("num_bins")
        .Attr<bool>("has_sets"));
