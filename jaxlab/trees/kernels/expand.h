// Grows one tree: the compiled twin of expand.py, with the same bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <queue>
#include <utility>
#include <vector>

#include "buffer.h"
#include "histogram.h"
#include "route.h"
#include "split.h"
#include "team.h"

namespace jaxlab {

struct Limits {  // of TreeSpec
  int64_t max_depth, max_leaves, min_rows;  // min_rows of a node to be split
  bool best_first;
};

struct Groups {  // sets of features that may meet on a path
  const bool* holds;  // [sets, features]
  int64_t count;
};

struct Masks {  // which features a node may be split on
  const uint8_t* by_level;  // [levels, features]; the last row serves all deeper ones
  int64_t num_levels;
  const float* priority;  // [nodes, features], or null: the node keeps the first
  const int32_t* kept;    // `kept` (by level) features in order of priority
};

struct Node {
  Segment rows;
  Sum total;
  Split split;
  Bounds bounds;
  int64_t parent = -1;
  int32_t depth = 0, left = 0;  // left child; the right one follows it; 0: a leaf
  int64_t slot = -1;            // of its histogram
  bool is_assigned = false;     // its rows know it, and lie in no order
};

// Memory that outlives a call, so that the kernel need not hand out zeroed pages again.
struct Workspace {
  Buffer<Pair> pairs;
  Buffer<int32_t> order, spare;
  Buffer<Sum> extra;
  std::vector<std::unique_ptr<Buffer<Sum>>> pool;  // of `per_chunk_` histograms each
};

class Grower {
 public:
  Grower(Team& team, const Table& table, const Features& features, const Rules& rules,
         const Limits& limits, const Groups& groups, const Masks& masks, Workspace& space,
         int32_t* leaf)
      : team_(team), t_(table), features_(features), rules_(rules), limits_(limits),
        groups_(groups), masks_(masks),
        space_(space), leaf_(leaf), slot_size_(table.num_features * table.num_bins) {
    constexpr int64_t kMostBytes = int64_t{1} << 30, kChunkBytes = int64_t{1} << 21;
    const int64_t bytes = slot_size_ * static_cast<int64_t>(sizeof(Sum));
    most_slots_ = std::max<int64_t>(2, kMostBytes / bytes);
    per_chunk_ = std::clamp<int64_t>(kChunkBytes / bytes, 1, most_slots_);
  }

  // Returns the nodes, the root first, and writes the leaf of each row. `order` holds
  // the rows to grow on, or is null for all of them.
  std::vector<Node> Grow(const int32_t* order, int64_t num_rows, Sum total) {
    order_ = order;
    nodes_.reserve(2 * limits_.max_leaves);
    nodes_.emplace_back();
    nodes_[0].rows = {0, num_rows};
    nodes_[0].total = total;
    if (limits_.max_leaves > 1) Evaluate({{-1, 0, -1}});
    limits_.best_first ? GrowBestFirst() : GrowByDepth();
    std::vector<const Node*> leaves;
    for (const Node& n : nodes_) {
      if (!n.left && !n.is_assigned) leaves.push_back(&n);
    }
    team_.Run(leaves.size(), [&](int64_t i, int64_t) {
      const Rows rows = RowsOf(*leaves[i]);
      const int32_t id = static_cast<int32_t>(leaves[i] - nodes_.data());
      for (int64_t k = 0; k < rows.count; ++k) leaf_[rows[k]] = id;
    });
    return std::move(nodes_);
  }

 private:
  struct Family {  // children to evaluate, smaller one first; -1 for none
    int64_t parent, small, large;
    int64_t slot = -1;       // of the smaller child's histogram
    bool is_built = false;   // by the stage that shares rows out
    bool has_parent = false; // whose histogram the larger child takes over
  };

  bool CanSplit(const Node& n) const {
    return n.split.feature >= 0 && n.split.gain > rules_.min_gain;
  }

  void GrowByDepth() {
    std::vector<int64_t> level{0};
    while (!level.empty()) {
      std::vector<int64_t> chosen;
      for (const int64_t id : level) {
        const int64_t budget = limits_.max_leaves - num_leaves_;
        if (CanSplit(nodes_[id]) && static_cast<int64_t>(chosen.size()) < budget) {
          chosen.push_back(id);
        }
      }
      const int64_t first = nodes_.size();
      SplitNodes(chosen);
      level.resize(nodes_.size() - first);
      std::iota(level.begin(), level.end(), first);
    }
  }

  void GrowBestFirst() {
    using Entry = std::pair<double, int64_t>;  // gain; minus id: older ones first
    std::priority_queue<Entry> queue;
    const auto push = [&](int64_t id) {
      if (CanSplit(nodes_[id])) queue.emplace(nodes_[id].split.gain, -id);
    };
    push(0);
    while (!queue.empty() && num_leaves_ < limits_.max_leaves) {
      const int64_t id = -queue.top().second;
      queue.pop();
      SplitNodes({id});
      push(nodes_[id].left);
      push(nodes_[id].left + 1);
    }
  }

  void SplitNodes(const std::vector<int64_t>& chosen) {
    if (chosen.empty()) return;
    std::vector<Route> routes(chosen.size());
    for (size_t i = 0; i < chosen.size(); ++i) {
      const Node& n = nodes_[chosen[i]];
      routes[i].rows = n.rows;
      routes[i].feature = n.split.feature;
      routes[i].left = static_cast<int32_t>(nodes_.size() + 2 * i);
      for (int b = 0; b < 256; ++b) routes[i].goes_left[b] = n.split.GoesLeft(b);
    }
    num_leaves_ += chosen.size();
    // All of `chosen` lie on one level.
    const bool is_last = nodes_[chosen[0]].depth + 1 >= limits_.max_depth ||
                         num_leaves_ >= limits_.max_leaves;
    if (is_last) {
      AssignRows(team_, t_, routes, order_, leaf_);
    } else {
      RouteRows(team_, t_, routes, order_, space_.order.data(), space_.spare.data());
      order_ = space_.order.data();
    }
    std::vector<Family> families;
    for (size_t i = 0; i < chosen.size(); ++i) {
      const int64_t id = chosen[i], left = nodes_.size();
      nodes_[id].left = static_cast<int32_t>(left);
      const Node n = nodes_[id];
      Node a, b;
      a.depth = b.depth = n.depth + 1;
      a.rows = {n.rows.start, routes[i].num_left};
      b.rows = {n.rows.start + a.rows.count, n.rows.count - a.rows.count};
      a.is_assigned = b.is_assigned = is_last;
      a.parent = b.parent = id;
      a.total = n.split.left;
      b.total = n.total - n.split.left;
      a.bounds = b.bounds = n.bounds;
      if (features_.has_monotone) BoundChildren(n, a, b);
      nodes_.push_back(a);
      nodes_.push_back(b);
      const bool left_is_small = a.rows.count <= b.rows.count;
      const int64_t small = left_is_small ? left : left + 1;
      const int64_t large = left_is_small ? left + 1 : left;
      if (MaySplit(nodes_[small]) || MaySplit(nodes_[large])) {
        families.push_back({id, small, large});
      } else {
        Free(nodes_[id].slot);
      }
    }
    Evaluate(std::move(families));
  }

  // Holds all leaves of a side on that side of the middle, as XGBoost does.
  void BoundChildren(const Node& n, Node& a, Node& b) const {
    const int32_t sign = features_.monotone[n.split.feature];
    const double middle =
        (Weight(a.total, rules_, n.bounds) + Weight(b.total, rules_, n.bounds)) / 2;
    if (sign > 0) a.bounds.high = b.bounds.low = middle;
    if (sign < 0) a.bounds.low = b.bounds.high = middle;
  }

  // Tells, before its histogram is built, whether a node could be split at all.
  bool MaySplit(const Node& n) const {
    const double h = static_cast<double>(n.total.h) * rules_.unit_h;
    return n.depth < limits_.max_depth && num_leaves_ < limits_.max_leaves &&
           n.rows.count >= std::max<int64_t>(2, limits_.min_rows) && h > 0 &&
           h >= 2 * rules_.min_hessian;
  }

  // Builds the smaller child's histogram from its rows, takes it from the parent's for
  // the larger one, and finds the best split of both.
  void Evaluate(std::vector<Family> families) {
    if (families.empty()) return;
    for (Family& f : families) TakeSlots(f);
    BuildLarge(families);
    const int64_t count = families.size();
    const int64_t wanted = std::clamp<int64_t>(4 * team_.size() / count, 1, t_.num_features);
    const int64_t width = std::min<int64_t>(7, (t_.num_features + wanted - 1) / wanted);
    const int64_t tiles = (t_.num_features + width - 1) / width;
    std::vector<Split> best(2 * count * tiles);
    std::vector<std::vector<Sum>> buffers(team_.size());
    std::vector<std::vector<uint8_t>> masks(2 * count);
    for (int64_t i = 0; i < count; ++i) {
      masks[2 * i] = Mask(families[i].small);
      masks[2 * i + 1] = Mask(families[i].large);
    }
    team_.Run(count * tiles, [&](int64_t task, int64_t member) {
      const int64_t i = task / tiles, begin = task % tiles * width;
      const int64_t end = std::min(begin + width, t_.num_features);
      Tile(families[i], begin, end, buffers[member], masks[2 * i], masks[2 * i + 1],
           best[2 * task], best[2 * task + 1]);
    });
    for (int64_t i = 0; i < count; ++i) {
      const Family& f = families[i];
      for (const int64_t id : {f.small, f.large}) {
        if (id < 0) continue;
        Node& n = nodes_[id];
        for (int64_t tile = 0; tile < tiles; ++tile) {  // ties: the lower feature
          const Split& s = best[2 * (i * tiles + tile) + (id == f.large)];
          if (s.gain > n.split.gain) n.split = s;
        }
        WriteBins(t_, features_, n.split);
        n.slot = id == f.small ? f.slot : f.has_parent ? nodes_[f.parent].slot : -1;
        if (!CanSplit(n)) {
          Free(n.slot);
          n.slot = -1;
        }
      }
    }
  }

  void Tile(const Family& f, int64_t begin, int64_t end, std::vector<Sum>& buffer,
            const std::vector<uint8_t>& small_mask,
            const std::vector<uint8_t>& large_mask, Split& small, Split& large) {
    const int64_t size = (end - begin) * t_.num_bins, offset = begin * t_.num_bins;
    if (f.slot < 0) {  // no memory to keep histograms: both children from their rows
      buffer.resize(size);
      for (const int64_t id : {f.small, f.large}) {
        if (id < 0 || !MaySplit(nodes_[id])) continue;
        Build(nodes_[id], begin, end, buffer.data());
        Scan(nodes_[id], begin, end, buffer.data(), id == f.small ? small_mask : large_mask,
             id == f.small ? small : large);
      }
      return;
    }
    Sum* built = Slot(f.slot) + offset;
    if (!f.is_built) Build(nodes_[f.small], begin, end, built);
    const bool scans_small = MaySplit(nodes_[f.small]);
    const bool scans_large = f.has_parent && MaySplit(nodes_[f.large]);
    Sum* rest = f.has_parent ? Slot(nodes_[f.parent].slot) + offset : nullptr;
    for (int64_t j = begin; j < end; ++j, built += t_.num_bins) {
      if (scans_large) {
        for (int64_t b = 0; b < t_.num_bins; ++b) rest[b] = rest[b] - built[b];
        Scan(nodes_[f.large], j, j + 1, rest, large_mask, large);
        rest += t_.num_bins;
      }
      if (scans_small) Scan(nodes_[f.small], j, j + 1, built, small_mask, small);
    }
  }

  void Build(const Node& n, int64_t begin, int64_t end, Sum* to) {
    std::fill_n(to, (end - begin) * t_.num_bins, Sum{});
    Add(n.rows, begin, end, to);
  }

  void Add(Segment rows, int64_t begin, int64_t end, Sum* to) {
    AddRows(
        t_, space_.pairs.data(), [this](Pair p) { return Quantize(p, steps_); },
        Rows{order_, rows.start, rows.count}, begin, end, to);
  }

  Rows RowsOf(const Node& n) const { return {order_, n.rows.start, n.rows.count}; }

  void Scan(const Node& n, int64_t begin, int64_t end, const Sum* histogram,
            const std::vector<uint8_t>& mask, Split& best) {
    const Kind kind = KindOf(rules_, features_);
    const Searched node{n.total, n.bounds, Score(n.total, rules_, n.bounds, kind)};
    for (int64_t j = begin; j < end; ++j, histogram += t_.num_bins) {
      if (mask[j]) ScanFeature(histogram, t_, j, node, rules_, features_, best);
    }
  }

  // Histograms of many rows: the rows are shared out, each part with sums of its own.
  void BuildLarge(std::vector<Family>& families) {
    constexpr int64_t kLarge = 4096;
    struct Part {
      int64_t family;
      Segment rows;
      int64_t extra;  // number of its own sums, -1: the slot itself
    };
    std::vector<Part> parts;
    int64_t total = 0, num_extra = 0;
    for (const Family& f : families) {
      if (f.slot >= 0 && nodes_[f.small].rows.count > kLarge) {
        total += nodes_[f.small].rows.count;
      }
    }
    const int64_t share = std::max(kLarge, total / (3 * team_.size()) + 1);
    for (size_t i = 0; i < families.size(); ++i) {
      Family& f = families[i];
      const Segment rows = nodes_[f.small].rows;
      f.is_built = f.slot >= 0 && rows.count > kLarge;
      if (!f.is_built) continue;
      const int64_t pieces = team_.size() == 1 ? 1 : (rows.count + share / 2) / share;
      const int64_t most = std::max<int64_t>(pieces, 1);
      for (int64_t p = 0; p < most; ++p) {
        const int64_t a = rows.count * p / most, b = rows.count * (p + 1) / most;
        parts.push_back({static_cast<int64_t>(i), {rows.start + a, b - a},
                         p ? num_extra++ : -1});
      }
    }
    if (parts.empty()) return;
    space_.extra.Reserve(num_extra * slot_size_);
    const auto sums = [&](const Part& p) {
      return p.extra < 0 ? Slot(families[p.family].slot)
                         : space_.extra.data() + p.extra * slot_size_;
    };
    std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
      return a.rows.count > b.rows.count;  // the longest first
    });
    team_.Run(parts.size(), [&](int64_t p, int64_t) {
      std::fill_n(sums(parts[p]), slot_size_, Sum{});
      Add(parts[p].rows, 0, t_.num_features, sums(parts[p]));
    });
    if (num_extra == 0) return;
    constexpr int64_t kPiece = 2048;
    const int64_t pieces = (slot_size_ + kPiece - 1) / kPiece;
    team_.Run(pieces, [&](int64_t piece, int64_t) {
      const int64_t a = piece * kPiece, b = std::min(a + kPiece, slot_size_);
      for (const Part& p : parts) {
        if (p.extra < 0) continue;
        Sum* to = Slot(families[p.family].slot);
        const Sum* from = sums(p);
        for (int64_t i = a; i < b; ++i) to[i] = to[i] + from[i];
      }
    });
  }

  std::vector<uint8_t> Mask(int64_t id) const {
    if (id < 0) return {};
    const int64_t level = std::min<int64_t>(nodes_[id].depth, masks_.num_levels - 1);
    const uint8_t* allowed = masks_.by_level + level * t_.num_features;
    std::vector<uint8_t> mask(allowed, allowed + t_.num_features);
    if (!masks_.priority) {
      Interact(id, mask);
      return mask;
    }
    const float* priority = masks_.priority + id * t_.num_features;
    std::vector<std::pair<float, int64_t>> ranked;
    for (int64_t j = 0; j < t_.num_features; ++j) {
      if (mask[j]) ranked.emplace_back(priority[j], j);
      mask[j] = 0;
    }
    std::sort(ranked.begin(), ranked.end());
    const int64_t kept = std::min<int64_t>(masks_.kept[level], ranked.size());
    for (int64_t i = 0; i < kept; ++i) mask[ranked[i].second] = 1;
    Interact(id, mask);
    return mask;
  }

  // Keeps features of the path, and of the sets that hold the whole path.
  void Interact(int64_t id, std::vector<uint8_t>& mask) const {
    if (groups_.count == 0 || nodes_[id].parent < 0) return;
    std::vector<uint8_t> allowed(mask.size()), holds(groups_.count, 1);
    for (int64_t at = nodes_[id].parent; at >= 0; at = nodes_[at].parent) {
      const int32_t feature = nodes_[at].split.feature;
      allowed[feature] = 1;
      for (int64_t s = 0; s < groups_.count; ++s) {
        holds[s] &= groups_.holds[s * t_.num_features + feature];
      }
    }
    for (int64_t s = 0; s < groups_.count; ++s) {
      for (int64_t j = 0; j < t_.num_features; ++j) {
        allowed[j] |= holds[s] & groups_.holds[s * t_.num_features + j];
      }
    }
    for (size_t j = 0; j < mask.size(); ++j) mask[j] &= allowed[j];
  }

  void TakeSlots(Family& f) {
    f.has_parent = f.parent >= 0 && nodes_[f.parent].slot >= 0;
    if (f.parent >= 0 && !f.has_parent) return;
    f.slot = Take();
    if (f.slot < 0 && f.has_parent) {
      Free(nodes_[f.parent].slot);
      nodes_[f.parent].slot = -1;
      f.has_parent = false;
    }
  }

  Sum* Slot(int64_t slot) {
    return space_.pool[slot / per_chunk_]->data() + slot % per_chunk_ * slot_size_;
  }

  int64_t Take() {
    if (!free_.empty()) {
      const int64_t slot = free_.back();
      free_.pop_back();
      return slot;
    }
    if (num_slots_ == most_slots_) return -1;
    if (num_slots_ % per_chunk_ == 0) {
      const size_t chunk = num_slots_ / per_chunk_;
      if (chunk == space_.pool.size()) {
        space_.pool.push_back(std::make_unique<Buffer<Sum>>());
      }
      space_.pool[chunk]->Reserve(per_chunk_ * slot_size_);
    }
    return num_slots_++;
  }

  void Free(int64_t slot) {
    if (slot >= 0) free_.push_back(slot);
  }

  Team& team_;
  const Table& t_;
  const Features& features_;
  const Rules& rules_;
  const Steps steps_{1 / rules_.unit_g, 1 / rules_.unit_h};
  const Limits limits_;
  const Groups& groups_;
  const Masks& masks_;
  Workspace& space_;
  int32_t* leaf_;  // of each row
  const int32_t* order_ = nullptr;  // of rows by nodes; null before all rows are parted
  const int64_t slot_size_;
  int64_t most_slots_, per_chunk_, num_slots_ = 0, num_leaves_ = 1;
  std::vector<int64_t> free_;
  std::vector<Node> nodes_;
};

}  // namespace jaxlab
