// Sums of gradient and hessian by feature and bin, in exact 64-bit integers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace jaxlab {

struct Sum {  // fixed point: gradient, hessian
  int64_t g = 0, h = 0;
  Sum operator+(Sum o) const { return {g + o.g, h + o.h}; }
  Sum operator-(Sum o) const { return {g - o.g, h - o.h}; }
};

struct Pair {  // of one row, as floats: half the memory of sums
  float g, h;
};

struct Steps {  // of the fixed point, in one
  double g, h;
};

// Bins of all rows, row-major, and what is known of the features.
struct Table {
  const uint8_t* bins;
  int64_t num_features;
  int64_t num_bins;           // of a histogram; the last one holds missing values
  const int32_t* num_values;  // bins of values in use, by feature
};

constexpr int kBlock = 512;  // rows whose gradients wait on the stack
constexpr int kAhead = 12;   // rows to prefetch ahead

inline void Add(Sum* to, Sum v) {
#if defined(__SSE2__)
  auto* p = reinterpret_cast<__m128i*>(to);
  const __m128i sum = _mm_add_epi64(_mm_loadu_si128(p),
                                    _mm_loadu_si128(reinterpret_cast<__m128i*>(&v)));
  _mm_storeu_si128(p, sum);
#else
  to->g += v.g;
  to->h += v.h;
#endif
}

template <int kWidth>
inline void AddTile(const Table& t, const int32_t* rows, int count, const Sum* values,
                    int64_t first, Sum* histogram) {
  for (int i = 0; i < count; ++i) {
    const uint8_t* row = t.bins + rows[i] * t.num_features + first;
    const Sum v = values[i];
    Sum* to = histogram;
#pragma GCC unroll 16
    for (int j = 0; j < kWidth; ++j, to += t.num_bins) Add(to + row[j], v);
  }
}

// Adds a block of rows to the histograms [features begin .. end, bins] of one node.
//
// In tiles of features whose histograms fit the first-level cache: 14 at a time were
// a quarter faster than all 28 together.
inline void AddBlock(const Table& t, const int32_t* rows, int count, const Sum* values,
                     int64_t begin, int64_t end, Sum* histogram) {
  int64_t j = begin;
  const auto at = [&](int64_t j) { return histogram + (j - begin) * t.num_bins; };
  for (; j + 14 <= end; j += 14) AddTile<14>(t, rows, count, values, j, at(j));
  for (; j + 7 <= end; j += 7) AddTile<7>(t, rows, count, values, j, at(j));
  for (; j + 4 <= end; j += 4) AddTile<4>(t, rows, count, values, j, at(j));
  for (; j < end; ++j) AddTile<1>(t, rows, count, values, j, at(j));
}

// Rounds to the fixed point as fixed_point.py does; `steps` is one over its unit.
inline Sum Quantize(Pair p, Steps steps) {
  return {std::llrint(p.g * steps.g), std::llrint(p.h * steps.h)};
}

// Adds rows, given by number, with gradients as floats.
inline void AddRows(const Table& t, const Pair* pairs, Steps steps, const int32_t* rows,
                    int64_t num_rows, int64_t begin, int64_t end, Sum* histogram) {
  Sum values[kBlock];
  for (int64_t start = 0; start < num_rows; start += kBlock) {
    const int32_t* block = rows + start;
    const int count = static_cast<int>(std::min<int64_t>(kBlock, num_rows - start));
    for (int i = 0; i < count; ++i) {
      const int64_t ahead = std::min<int64_t>(start + i + kAhead, num_rows - 1);
      __builtin_prefetch(pairs + rows[ahead]);
      __builtin_prefetch(t.bins + rows[ahead] * t.num_features + begin);
      values[i] = Quantize(pairs[block[i]], steps);
    }
    AddBlock(t, block, count, values, begin, end, histogram);
  }
}

}  // namespace jaxlab
