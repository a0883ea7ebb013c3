// The best split of a node: the compiled twin of split.py, bit for bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "histogram.h"

namespace jaxlab {

struct Rules {  // see split.py
  double l2, l1, min_hessian, min_gain, max_step;
  double unit_g, unit_h;  // what one step of the fixed point is worth
};

struct Split {
  double gain = -INFINITY;
  int32_t feature = -1, bin = 0;
  bool missing_left = false;
  Sum left;
};

// No fused multiply-add may arise here (-ffp-contract=off): XLA's twin has none.
template <bool kLimited>
inline double Score(double g, double h, const Rules& r) {
  const double rest = std::fabs(g) - r.l1;
  const double kept = rest > 0.0 ? rest : 0.0;  // unlike fmax, one instruction
  const double scale = h + r.l2;
  if (!kLimited) return kept * kept / scale;
  const double limited = (2 * kept / r.max_step - scale) / (1 / (r.max_step * r.max_step));
  return kept > scale * r.max_step ? limited : kept * kept / scale;
}

inline bool IsLimited(const Rules& r) { return r.max_step < INFINITY; }

struct Prefix {  // sums up to each bin that holds rows
  int64_t g[256], h[256];
  uint8_t bin[256];
  int count = 0;

  Prefix(const Sum* histogram, int64_t values) {
    Sum left;
    for (int64_t b = 0; b < values; ++b) {
      const Sum v = histogram[b];
      left = left + v;
      g[count] = left.g;
      h[count] = left.h;
      bin[count] = static_cast<uint8_t>(b);
      count += (v.g | v.h) != 0;
    }
  }
};

// The arguments are values, so that the loop need not fear a store to change them.
template <bool kLimited>
inline void Gains(const Prefix& p, Sum shift, Sum total, double parent, const Rules given,
                  double* __restrict gain) {
  const Rules r = given;
  const Sum rest = total - shift;
  const int count = p.count;
  const int64_t *__restrict g = p.g, *__restrict h = p.h;
  for (int i = 0; i < count; ++i) {
    const double lg = static_cast<double>(g[i] + shift.g) * r.unit_g;
    const double lh = static_cast<double>(h[i] + shift.h) * r.unit_h;
    const double rg = static_cast<double>(rest.g - g[i]) * r.unit_g;
    const double rh = static_cast<double>(rest.h - h[i]) * r.unit_h;
    const double value = Score<kLimited>(lg, lh, r) + Score<kLimited>(rg, rh, r) - parent;
    const double least = lh < rh ? lh : rh;
    const double kept = least >= r.min_hessian ? value : -INFINITY;
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

// Looks at the splits of one feature, and replaces `best` by a strictly better one.
//
// Order as in scikit-learn and XGBoost: missing values right, bins upwards; then
// missing left, bins downwards. Empty bins repeat a partition and are passed over.
inline void ScanFeature(const Sum* histogram, const Table& t, int64_t feature,
                        Sum total, double parent_score, const Rules& r, Split& best) {
  const int64_t values = t.num_values[feature];
  const Sum missing = histogram[t.num_bins - 1];
  const bool has_missing = missing.g != 0 || missing.h != 0;
  const Prefix p(histogram, values);
  double gain[256];
  const auto scan = [&](Sum shift, bool missing_left) {
    IsLimited(r) ? Gains<true>(p, shift, total, parent_score, r, gain)
                 : Gains<false>(p, shift, total, parent_score, r, gain);
    const double top = Largest(gain, p.count);
    if (!(top > best.gain)) return;
    int at = missing_left ? p.count - 1 : 0;
    while (gain[at] != top) at += missing_left ? -1 : 1;
    best.gain = top;
    best.feature = static_cast<int32_t>(feature);
    // Downwards, the first of equal partitions is the one with the highest bin.
    best.bin = missing_left ? p.bin[at + 1] - 1 : p.bin[at];
    best.missing_left = missing_left;
    best.left = Sum{p.g[at], p.h[at]} + shift;
  };
  scan(Sum{}, false);
  if (has_missing) scan(missing, true);
}

}  // namespace jaxlab
