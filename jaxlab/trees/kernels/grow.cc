// The call from XLA that grows one tree.
#include "expand.h"

#include <memory>
#include <mutex>

#include "xla/ffi/api/ffi.h"

namespace jaxlab {
namespace {

namespace ffi = xla::ffi;

std::mutex mutex;
std::vector<std::unique_ptr<Workspace>> idle;

std::unique_ptr<Workspace> Borrow() {
  const std::lock_guard<std::mutex> lock(mutex);
  if (idle.empty()) return std::make_unique<Workspace>();
  auto space = std::move(idle.back());
  idle.pop_back();
  return space;
}

// Frees what no call uses at the moment.
void Release() {
  const std::lock_guard<std::mutex> lock(mutex);
  idle.clear();
}

void Return(std::unique_ptr<Workspace> space) {
  const std::lock_guard<std::mutex> lock(mutex);
  idle.push_back(std::move(space));
}

constexpr int64_t kChunk = 65536;

// Rows that the tree has not seen: follow it from the root.
int32_t Follow(const std::vector<Node>& nodes, const Table& t, int64_t row) {
  int32_t id = 0;
  while (nodes[id].left) {
    const Split& s = nodes[id].split;
    id = nodes[id].left + !s.GoesLeft(t.bins[row * t.num_features + s.feature]);
  }
  return id;
}

ffi::Error Grow(ffi::ThreadPool pool, ffi::BufferR2<ffi::U8> bins,
                ffi::BufferR2<ffi::U8> columns,
                ffi::BufferR1<ffi::F32> gradient, ffi::BufferR1<ffi::F32> hessian,
                ffi::BufferR1<ffi::S32> rows, ffi::BufferR1<ffi::S32> num_rows,
                ffi::BufferR1<ffi::S32> num_values, ffi::BufferR1<ffi::PRED> categorical,
                ffi::BufferR1<ffi::S32> monotone, ffi::BufferR2<ffi::PRED> groups,
                ffi::BufferR1<ffi::F64> rules,
                ffi::BufferR2<ffi::U8> by_level, ffi::BufferR2<ffi::F32> priority,
                ffi::BufferR1<ffi::S32> kept, ffi::ResultBufferR2<ffi::S32> node,
                ffi::ResultBufferR2<ffi::F64> number, ffi::ResultBufferR2<ffi::S64> sum,
                ffi::ResultBufferR2<ffi::U32> left_bins,
                ffi::ResultBufferR1<ffi::S32> leaf, int64_t num_bins,
                int64_t max_depth, int64_t max_leaves, bool best_first,
                int64_t max_onehot, bool has_monotone) {
  return Guarded([&] {
    const int64_t used = num_rows.typed_data()[0], all = num_rows.typed_data()[1];
    const double* r = rules.typed_data();
    const Rules given{r[0], r[1], r[2], r[3], r[5], r[6], r[7], max_onehot};
    const Table table{bins.typed_data(), bins.dimensions()[1], num_bins,
                      num_values.typed_data(),
                      columns.dimensions()[0] ? columns.typed_data() : nullptr,
                      columns.dimensions()[1]};
    const bool has_priority = priority.dimensions()[0] > 0;
    const Masks masks{by_level.typed_data(), by_level.dimensions()[0],
                      has_priority ? priority.typed_data() : nullptr, kept.typed_data()};
    const Limits limits{max_depth, max_leaves, static_cast<int64_t>(r[4]), best_first};
    Team team(pool, std::max<int64_t>(1, all * table.num_features / 8192));
    auto space = Borrow();
    space->pairs.Reserve(all);
    space->order.Reserve(used);
    space->spare.Reserve(used);
    const int32_t* order = rows.dimensions()[0] ? rows.typed_data() : nullptr;
    const int64_t num_chunks = (all + kChunk - 1) / kChunk;
    std::vector<Sum> sums(num_chunks);
    const Steps steps{1 / given.unit_g, 1 / given.unit_h};
    team.Run(num_chunks, [&](int64_t c, int64_t) {
      const int64_t end = std::min(all, (c + 1) * kChunk);
      Sum sum;
      for (int64_t i = c * kChunk; i < end; ++i) {
        const Pair p{gradient.typed_data()[i], hessian.typed_data()[i]};
        space->pairs[i] = p;
        sum = sum + Quantize(p, steps);  // rows not in use have no gradient
      }
      sums[c] = sum;
    });
    const Sum total = std::accumulate(sums.begin(), sums.end(), Sum{});
    const Features features{categorical.typed_data(), monotone.typed_data(), has_monotone};
    const Groups sets{groups.typed_data(), groups.dimensions()[0]};
    const auto nodes = Grower(team, table, features, given, limits, sets, masks, *space,
                              leaf->typed_data())
                           .Grow(order, used, total);

    int32_t* out = node->typed_data();
    const int64_t capacity = node->dimensions()[1];
    std::fill_n(out, node->element_count(), 0);
    double *gain = number->typed_data(), *weight = gain + capacity;
    std::fill_n(gain, 2 * capacity, 0.0);
    std::fill_n(left_bins->typed_data(), left_bins->element_count(), 0u);
    std::fill_n(sum->typed_data(), sum->element_count(), 0);
    for (int64_t i = 0; i < static_cast<int64_t>(nodes.size()); ++i) {
      const Node& n = nodes[i];
      const int32_t fields[] = {n.left, n.split.feature, n.split.bin, n.split.missing_left,
                                static_cast<int32_t>(n.rows.count)};
      for (int f = 0; f < 5; ++f) out[f * capacity + i] = n.left || f == 4 ? fields[f] : 0;
      for (int w = 0; w < 8; ++w) {
        left_bins->typed_data()[8 * i + w] = n.left ? n.split.left_bins[w] : 0;
      }
      gain[i] = n.left ? n.split.gain : 0.0;
      weight[i] = Weight(n.total, given, n.bounds);
      sum->typed_data()[2 * i] = n.total.g;
      sum->typed_data()[2 * i + 1] = n.total.h;
    }
    int32_t* to = leaf->typed_data();
    const int64_t unseen = all - used, padded = leaf->element_count();
    team.Run((unseen + kChunk - 1) / kChunk, [&](int64_t c, int64_t) {
      const int64_t end = std::min(unseen, (c + 1) * kChunk);
      for (int64_t i = c * kChunk; i < end; ++i) {
        const int32_t row = rows.typed_data()[used + i];
        to[row] = Follow(nodes, table, row);
      }
    });
    std::fill(to + all, to + padded, 0);
    Return(std::move(space));
  });
}

}  // namespace
}  // namespace jaxlab

extern "C" void jaxlab_release() { jaxlab::Release(); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    JaxlabGrow, jaxlab::Grow,
    xla::ffi::Ffi::Bind()
        .Ctx<xla::ffi::ThreadPool>()
        .Arg<xla::ffi::BufferR2<xla::ffi::U8>>()    // bins [rows, features]
        .Arg<xla::ffi::BufferR2<xla::ffi::U8>>()    // the same [features, rows], or empty
        .Arg<xla::ffi::BufferR1<xla::ffi::F32>>()   // gradient [rows]
        .Arg<xla::ffi::BufferR1<xla::ffi::F32>>()   // hessian [rows]
        .Arg<xla::ffi::BufferR1<xla::ffi::S32>>()   // rows in use first, or empty: all
        .Arg<xla::ffi::BufferR1<xla::ffi::S32>>()   // number of rows in use, and of all
        .Arg<xla::ffi::BufferR1<xla::ffi::S32>>()   // bins of values by feature
        .Arg<xla::ffi::BufferR1<xla::ffi::PRED>>()  // which features are categories
        .Arg<xla::ffi::BufferR1<xla::ffi::S32>>()   // which way they are monotone
        .Arg<xla::ffi::BufferR2<xla::ffi::PRED>>()  // sets of features that may meet
        .Arg<xla::ffi::BufferR1<xla::ffi::F64>>()   // rules of split.py
        .Arg<xla::ffi::BufferR2<xla::ffi::U8>>()    // features by level
        .Arg<xla::ffi::BufferR2<xla::ffi::F32>>()   // priority [nodes, features] or empty
        .Arg<xla::ffi::BufferR1<xla::ffi::S32>>()   // features a node keeps, by level
        .Ret<xla::ffi::BufferR2<xla::ffi::S32>>()   // left, feature, bin, missing, count
        .Ret<xla::ffi::BufferR2<xla::ffi::F64>>()   // gain, weight
        .Ret<xla::ffi::BufferR2<xla::ffi::S64>>()   // gradient, hessian of nodes
        .Ret<xla::ffi::BufferR2<xla::ffi::U32>>()   // bins that go left, as bits
        .Ret<xla::ffi::BufferR1<xla::ffi::S32>>()   // leaf of each row
        .Attr<int64_t>("num_bins")
        .Attr<int64_t>("max_depth")
        .Attr<int64_t>("max_leaves")
        .Attr<bool>("best_first")
        .Attr<int64_t>("max_onehot")
        .Attr<bool>("has_monotone"));
