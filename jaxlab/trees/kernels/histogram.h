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
  const uint8_t* columns = nullptr;  // the same by features, if there is room
  int64_t column_size = 0;

  // Bins of a feature, and how far apart those of neighbouring rows lie.
  const uint8_t* Column(int64_t feature, int64_t& step) const {
    step = columns ? 1 : num_features;
    return columns ? columns + feature * column_size : bins + feature;
  }
};

constexpr int kBlock = 512;  // rows whose gradients wait on the stack

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

// Rows of the next block, fetched into the cache while this one is added: the next
// rows' bins during the first tile, their gradients during the second. It made nodes
// of scattered rows a fifth faster, for which memory is what is waited for.
struct Upcoming {
  const int32_t* rows;
  int count;
  const void* values;  // of all rows
  int64_t value_size;
  int tile = 0;

  // Always inlined: GCC takes a function that only prefetches for one without effect.
  __attribute__((always_inline)) void Fetch(const uint8_t* bins, int64_t num_features, int i) const {
    if (i >= count) return;
    if (tile == 0) {
      const uint8_t* row = bins + rows[i] * num_features;
      __builtin_prefetch(row, 0, 2);
      __builtin_prefetch(row + num_features - 1, 0, 2);
    }
    if (tile == 1) {
      __builtin_prefetch(static_cast<const char*>(values) + rows[i] * value_size);
    }
  }
};

struct Block {
  const int32_t* rows;
  int count;
  const Sum* values;
};

template <int kWidth, int kBins>
inline void AddTile(const Table& t, const Block& given, int64_t first, Sum* histogram,
                    Upcoming& upcoming) {
  // Copies: the stores below might change what they point to, for all that is known.
  const Block block = given;
  const Upcoming next = upcoming;
  const int64_t num_bins = kBins ? kBins : t.num_bins, num_features = t.num_features;
  const uint8_t *bins = t.bins, *column = t.bins + first;
  for (int i = 0; i < block.count; ++i) {
    const uint8_t* row = column + block.rows[i] * num_features;
    const Sum v = block.values[i];
    next.Fetch(bins, num_features, i);
#pragma GCC unroll 16
    for (int j = 0; j < kWidth; ++j) Add(histogram + j * num_bins + row[j], v);
  }
  ++upcoming.tile;
}

template <int kBins>
inline void AddTiles(const Table& t, const Block& block, int64_t begin, int64_t end,
                     Sum* histogram, Upcoming& next) {
  int64_t j = begin;
  const auto at = [&](int64_t j) { return histogram + (j - begin) * t.num_bins; };
  for (; j + 14 <= end; j += 14) AddTile<14, kBins>(t, block, j, at(j), next);
  for (; j + 7 <= end; j += 7) AddTile<7, kBins>(t, block, j, at(j), next);
  for (; j + 4 <= end; j += 4) AddTile<4, kBins>(t, block, j, at(j), next);
  for (; j < end; ++j) AddTile<1, kBins>(t, block, j, at(j), next);
}

// Adds a block of rows to the histograms [features begin .. end, bins] of one node.
//
// In tiles of features whose histograms fit the first-level cache: 14 at a time were
// a quarter faster than all 28 together; a known number of bins gave another tenth.
inline void AddBlock(const Table& t, const Block& block, int64_t begin, int64_t end,
                     Sum* histogram, Upcoming next) {
  switch (t.num_bins) {
    case 256: return AddTiles<256>(t, block, begin, end, histogram, next);
    case 129: return AddTiles<129>(t, block, begin, end, histogram, next);
    case 65: return AddTiles<65>(t, block, begin, end, histogram, next);
    default: return AddTiles<0>(t, block, begin, end, histogram, next);
  }
}

// Row numbers one after the other: a part of a list, or, without one, of all rows.
struct Rows {
  const int32_t* list;
  int64_t first, count;

  int32_t operator[](int64_t i) const {
    return list ? list[first + i] : static_cast<int32_t>(first + i);
  }
};

// Adds rows; value(x) gives what a row adds, `all` the x of each row.
template <typename V, typename F>
inline void AddRows(const Table& t, const V* all, const F& value, Rows rows,
                    int64_t begin, int64_t end, Sum* histogram) {
  Sum values[kBlock];
  int32_t counted[2 * kBlock];  // without a list: this block's rows, and the next one's
  for (int64_t start = 0; start < rows.count; start += kBlock) {
    const int count = static_cast<int>(std::min<int64_t>(kBlock, rows.count - start));
    const int ahead =
        static_cast<int>(std::min<int64_t>(count, rows.count - start - count));
    const int32_t* block = counted;
    if (rows.list) {
      block = rows.list + rows.first + start;
    } else {
      for (int i = 0; i < count + ahead; ++i) counted[i] = rows[start + i];
    }
    for (int i = 0; i < count; ++i) values[i] = value(all[block[i]]);
    const Upcoming next{block + count, ahead, all, sizeof(V)};
    AddBlock(t, {block, count, values}, begin, end, histogram, next);
  }
}

// Rounds to the fixed point as fixed_point.py does; `steps` is one over its unit.
inline Sum Quantize(Pair p, Steps steps) {
  return {std::llrint(p.g * steps.g), std::llrint(p.h * steps.h)};
}

}  // namespace jaxlab
