// The best split of a node: the compiled twin of split.py, bit for bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "histogram.h"

namespace jaxlab {

struct Rules {  // SplitNumbers of split.py, and more
  double l2, l1, min_hessian, min_gain, max_step;
  double unit_g, unit_h;  // what one step of the fixed point is worth
  int64_t max_onehot;
};

struct Features {
  const bool* is_categorical;
  const int32_t* monotone;  // 1 rising, -1 falling, 0 free
  bool has_monotone;        // for any feature: then leaves have bounds
};

struct Bounds {  // of a node's leaves
  double low = -INFINITY, high = INFINITY;
};

struct Split {
  double gain = -INFINITY;
  int32_t feature = -1, bin = 0;
  bool missing_left = false;
  Sum left;
  uint32_t left_bins[8] = {};  // a bit for each bin that goes left

  bool GoesLeft(uint8_t bin) const { return left_bins[bin >> 5] >> (bin & 31) & 1; }
  void Add(int64_t bin) { left_bins[bin >> 5] |= uint32_t{1} << (bin & 31); }
};

// -T(G) / (H + l2), within the largest step.
inline double Weight(double g, double h, const Rules& r) {
  const double rest = std::fabs(g) - r.l1, scale = h + r.l2;
  if (!(scale > 0)) return 0.0;
  const double kept = rest > 0.0 ? rest : 0.0;
  const double weight = (g > 0 ? -kept : kept) / scale;
  return std::min(std::max(weight, -r.max_step), r.max_step);
}

inline double Weight(Sum s, const Rules& r, Bounds bounds) {
  const double weight = Weight(static_cast<double>(s.g) * r.unit_g,
                               static_cast<double>(s.h) * r.unit_h, r);
  return std::min(std::max(weight, bounds.low), bounds.high);
}

enum Kind { kPlain, kLimited, kBounded };

inline Kind KindOf(const Rules& r, const Features& f) {
  if (f.has_monotone) return kBounded;
  return r.max_step < INFINITY ? kLimited : kPlain;
}

// No fused multiply-add may arise here (-ffp-contract=off): XLA's twin has none.
template <Kind kKind>
inline double Score(double g, double h, const Rules& r, Bounds bounds, double& weight) {
  const double scale = h + r.l2;
  if constexpr (kKind == kBounded) {
    weight = std::min(std::max(Weight(g, h, r), bounds.low), bounds.high);
    const double inverse = 1 / weight, sign = (weight > 0) - (weight < 0);
    return (2 * g + (scale > 0 ? scale : 1.0) / inverse + 2 * r.l1 * sign) / -inverse;
  }
  const double rest = std::fabs(g) - r.l1;
  const double kept = rest > 0.0 ? rest : 0.0;  // unlike fmax, one instruction
  if constexpr (kKind == kPlain) return kept * kept / scale;
  const double limited = (2 * kept / r.max_step - scale) / (1 / (r.max_step * r.max_step));
  return kept > scale * r.max_step ? limited : kept * kept / scale;
}

inline double Score(Sum s, const Rules& r, Bounds bounds, Kind kind) {
  const double g = static_cast<double>(s.g) * r.unit_g;
  const double h = static_cast<double>(s.h) * r.unit_h;
  double weight;
  switch (kind) {
    case kPlain: return Score<kPlain>(g, h, r, bounds, weight);
    case kLimited: return Score<kLimited>(g, h, r, bounds, weight);
    default: return Score<kBounded>(g, h, r, bounds, weight);
  }
}

// What the splits of a feature send left, without the missing values.
struct Candidates {
  int64_t g[257], h[257];
  int32_t place[258] = {};  // bin, or rank of a category
  int count = 0;

  void Push(Sum left, int64_t at) {
    g[count] = left.g;
    h[count] = left.h;
    place[count++] = static_cast<int32_t>(at);
  }
};

// Sums up to each bin. Bins without rows repeat a split and are passed over, but for
// the first one: with missing values left, it parts these from all others.
inline void ListNumbers(const Sum* histogram, int64_t values, Candidates& to) {
  Sum left;
  int count = 0;
  for (int64_t b = 0; b < values; ++b) {
    const Sum v = histogram[b];
    left = left + v;
    to.g[count] = left.g;
    to.h[count] = left.h;
    to.place[count] = static_cast<int32_t>(b);
    count += (b == 0) | ((v.g | v.h) != 0);
  }
  to.count = count;
}

// Categories in the order of their leaf value, those without rows left out.
inline std::vector<int32_t> SortCategories(const Sum* histogram, int64_t values,
                                           const Rules& r) {
  std::vector<std::pair<double, int32_t>> keys;
  for (int64_t b = 0; b < values; ++b) {
    const Sum v = histogram[b];
    const double h = static_cast<double>(v.h) * r.unit_h;
    const double key =
        h > 0 ? Weight(static_cast<double>(v.g) * r.unit_g, h, r) : INFINITY;
    if (v.g | v.h) keys.emplace_back(key, static_cast<int32_t>(b));
  }
  std::sort(keys.begin(), keys.end());
  std::vector<int32_t> order;
  for (const auto& key : keys) order.push_back(key.second);
  return order;
}

// The arguments are values, so that the loop need not fear a store to change them.
template <Kind kKind>
inline void Gains(const Candidates& c, Sum shift, Sum total, double parent,
                  const Rules given, Bounds bounds, int32_t monotone,
                  double* __restrict gain) {
  const Rules r = given;
  const Sum rest = total - shift;
  const int count = c.count;
  const int64_t *__restrict g = c.g, *__restrict h = c.h;
  for (int i = 0; i < count; ++i) {
    const double lg = static_cast<double>(g[i] + shift.g) * r.unit_g;
    const double lh = static_cast<double>(h[i] + shift.h) * r.unit_h;
    const double rg = static_cast<double>(rest.g - g[i]) * r.unit_g;
    const double rh = static_cast<double>(rest.h - h[i]) * r.unit_h;
    double left = 0, right = 0;
    const double sum = Score<kKind>(lg, lh, r, bounds, left) +
                       Score<kKind>(rg, rh, r, bounds, right);
    const double least = lh < rh ? lh : rh;
    double kept = least >= r.min_hessian ? sum - parent : -INFINITY;
    if (kKind == kBounded) kept = monotone * (right - left) >= 0 ? kept : -INFINITY;
    gain[i] = least > 0 ? kept : -INFINITY;
  }
}

inline double Largest(const double* gain, int count) {
  constexpr int kLanes = 8;
  double top[kLanes];
  std::fill_n(top, kLanes, -INFINITY);
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) top[k] = gain[i + k] > top[k] ? gain[i + k] : top[k];
  }
  for (; i < count; ++i) top[0] = gain[i] > top[0] ? gain[i] : top[0];
  return *std::max_element(top, top + kLanes);
}

struct Searched {  // a node whose splits are looked for
  Sum total;
  Bounds bounds;
  double score;
};

// Looks at one list of candidates, and takes the best one if it beats `best`.
inline bool Pick(const Candidates& c, Sum shift, bool missing_left, int64_t feature,
                 const Searched& node, const Rules& r, const Features& f, Split& best) {
  double gain[257];
  const auto fill = [&](auto gains) {
    gains(c, shift, node.total, node.score, r, node.bounds, f.monotone[feature], gain);
  };
  switch (KindOf(r, f)) {
    case kPlain: fill(Gains<kPlain>); break;
    case kLimited: fill(Gains<kLimited>); break;
    default: fill(Gains<kBounded>);
  }
  const double top = Largest(gain, c.count);
  if (!(top > best.gain)) return false;
  int at = missing_left ? c.count - 1 : 0;
  while (gain[at] != top) at += missing_left ? -1 : 1;
  best = Split{top, static_cast<int32_t>(feature), c.place[at], missing_left,
               Sum{c.g[at], c.h[at]} + shift, {}};
  // Downwards, the first of equal partitions is the one with the highest bin.
  if (missing_left && !f.is_categorical[feature]) best.bin = c.place[at + 1] - 1;
  return true;
}

inline void ScanCategories(const Sum* histogram, const Table& t, int64_t feature,
                           const Searched& node, const Rules& r, const Features& f,
                           Split& best) {
  const int64_t values = t.num_values[feature];
  const Sum missing = histogram[t.num_bins - 1];
  const std::vector<int32_t> order = SortCategories(histogram, values, r);
  const bool one_by_one = values <= r.max_onehot;
  Candidates c;
  Sum left;
  for (size_t i = 0; i < order.size() && !one_by_one; ++i) {
    left = left + histogram[order[i]];
    c.Push(left, i);
  }
  int64_t empty = t.num_bins - 2;  // the last one stands for all without rows:
  while (empty >= 0 && (histogram[empty].g | histogram[empty].h)) --empty;
  for (int64_t b = 0; b < t.num_bins - 1 && one_by_one; ++b) {
    // with missing values on its side, it parts these from the rest.
    if ((histogram[b].g | histogram[b].h) || b == empty) c.Push(histogram[b], b);
  }
  bool found = Pick(c, Sum{}, false, feature, node, r, f, best);
  if (missing.g | missing.h) found |= Pick(c, missing, true, feature, node, r, f, best);
  if (!found) return;
  std::vector<bool> is_left(t.num_bins, best.missing_left);  // also of empty ones
  for (size_t i = 0; i < order.size(); ++i) {
    is_left[order[i]] = one_by_one ? order[i] == best.bin : static_cast<int>(i) <= best.bin;
  }
  for (int64_t b = 0; b < t.num_bins; ++b) {
    if (is_left[b]) best.Add(b);
  }
}

// Looks at the splits of one feature, and replaces `best` by a strictly better one.
//
// Order as in scikit-learn and XGBoost: missing values right, bins upwards; then
// missing left, bins downwards.
inline void ScanFeature(const Sum* histogram, const Table& t, int64_t feature,
                        const Searched& node, const Rules& r, const Features& f,
                        Split& best) {
  if (f.is_categorical[feature]) {
    return ScanCategories(histogram, t, feature, node, r, f, best);
  }
  const Sum missing = histogram[t.num_bins - 1];
  Candidates c;
  ListNumbers(histogram, t.num_values[feature], c);
  Pick(c, Sum{}, false, feature, node, r, f, best);
  if (missing.g | missing.h) Pick(c, missing, true, feature, node, r, f, best);
}

// Writes what a split on numbers sends left; ScanCategories has done so for its own.
inline void WriteBins(const Table& t, const Features& f, Split& s) {
  if (s.feature < 0 || f.is_categorical[s.feature]) return;
  for (int32_t b = 0; b <= s.bin; ++b) s.Add(b);
  if (s.missing_left) s.Add(t.num_bins - 1);
}

}  // namespace jaxlab
