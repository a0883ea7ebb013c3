// The best split of a node: the compiled twin of split.py, bit for bit.
#pragma once

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
inline double Score(double g, double h, const Rules& r) {
  const double kept = std::fmax(std::fabs(g) - r.l1, 0.0);
  const double scale = h + r.l2;
  const double limited = (2 * kept / r.max_step - scale) / (1 / (r.max_step * r.max_step));
  return kept > scale * r.max_step ? limited : kept * kept / scale;
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
  int64_t prefix_g[256], prefix_h[256];
  uint8_t place[256];
  int count = 0;
  Sum left;
  for (int64_t b = 0; b < values; ++b) {
    const Sum v = histogram[b];
    left = left + v;
    prefix_g[count] = left.g;
    prefix_h[count] = left.h;
    place[count] = static_cast<uint8_t>(b);
    count += (v.g | v.h) != 0;
  }
  double gain[256];
  const auto scan = [&](Sum shift, bool missing_left) {
    const Sum rest = total - shift;
    for (int i = 0; i < count; ++i) {
      const double lg = static_cast<double>(prefix_g[i] + shift.g) * r.unit_g;
      const double lh = static_cast<double>(prefix_h[i] + shift.h) * r.unit_h;
      const double rg = static_cast<double>(rest.g - prefix_g[i]) * r.unit_g;
      const double rh = static_cast<double>(rest.h - prefix_h[i]) * r.unit_h;
      const bool ok = (lh > 0) & (rh > 0) & (lh >= r.min_hessian) & (rh >= r.min_hessian);
      const double value = Score(lg, lh, r) + Score(rg, rh, r) - parent_score;
      gain[i] = ok ? value : -INFINITY;
    }
    double top = -INFINITY;
    for (int i = 0; i < count; ++i) top = gain[i] > top ? gain[i] : top;
    if (!(top > best.gain)) return;
    int at = missing_left ? count - 1 : 0;
    while (gain[at] != top) at += missing_left ? -1 : 1;
    best.gain = top;
    best.feature = static_cast<int32_t>(feature);
    // Downwards, the first of equal partitions is the one with the highest bin.
    best.bin = missing_left ? place[at + 1] - 1 : place[at];
    best.missing_left = missing_left;
    best.left = Sum{prefix_g[at], prefix_h[at]} + shift;
  };
  scan(Sum{}, false);
  if (has_missing) scan(missing, true);
}

}  // namespace jaxlab
