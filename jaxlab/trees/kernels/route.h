// Which rows lie in which node: one array of row numbers, a segment of it per node.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "histogram.h"
#include "team.h"

namespace jaxlab {

struct Segment {
  int64_t start = 0, count = 0;
};

struct Route {  // one node to part in two
  Segment rows;
  int32_t left;  // its left child
  int64_t feature;
  uint8_t goes_left[256];  // by bin
  int64_t num_left = 0;    // set by RouteRows
};

struct Chunk {
  int64_t route, start, count, num_left = 0, left_at = 0, right_at = 0;
};

inline std::vector<Chunk> CutChunks(const std::vector<Route>& routes) {
  constexpr int64_t kRows = 8192;
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < routes.size(); ++i) {
    const Segment s = routes[i].rows;
    for (int64_t at = 0; at < s.count; at += kRows) {
      chunks.push_back(
          {static_cast<int64_t>(i), s.start + at, std::min(kRows, s.count - at)});
    }
  }
  return chunks;
}

// Calls f(row, goes_left) for the rows of a chunk, in order.
template <typename F>
inline void ForRows(const Table& t, const Route& route, Rows rows, const F& f) {
  int64_t step;
  const uint8_t* column = t.Column(route.feature, step);
  if (!rows.list) {
    for (int64_t i = 0; i < rows.count; ++i) {
      f(rows[i], route.goes_left[column[(rows.first + i) * step]]);
    }
    return;
  }
  const int32_t* list = rows.list + rows.first;
  for (int64_t i = 0; i < rows.count; ++i) {
    __builtin_prefetch(column + list[std::min(i + 32, rows.count - 1)] * step);
    f(list[i], route.goes_left[column[list[i] * step]]);
  }
}

// Writes the child that each row goes to, where the order of rows matters no more.
inline void AssignRows(Team& team, const Table& t, std::vector<Route>& routes,
                       const int32_t* order, int32_t* leaf) {
  std::vector<Chunk> chunks = CutChunks(routes);
  team.Run(chunks.size(), [&](int64_t c, int64_t) {
    Chunk& chunk = chunks[c];
    const Route& route = routes[chunk.route];
    int64_t num_left = 0;
    const Rows rows{order, chunk.start, chunk.count};
    ForRows(t, route, rows, [&](int32_t row, bool left) {
      leaf[row] = route.left + !left;
      num_left += left;
    });
    chunk.num_left = num_left;
  });
  for (const Chunk& chunk : chunks) routes[chunk.route].num_left += chunk.num_left;
}

// Parts each segment of `from` in left and right rows, keeping their order, into `order`
// (the same list, or, for all rows without one, a list that is made by this).
//
// In chunks: each parts its rows into `spare` (left from the front, right from the
// back), then copies both to where they belong.
inline void RouteRows(Team& team, const Table& t, std::vector<Route>& routes,
                      const int32_t* from, int32_t* order, int32_t* spare) {
  std::vector<Chunk> chunks = CutChunks(routes);
  team.Run(chunks.size(), [&](int64_t c, int64_t) {
    Chunk& chunk = chunks[c];
    int32_t *left = spare + chunk.start, *right = left + chunk.count - 1;
    const Rows rows{from, chunk.start, chunk.count};
    ForRows(t, routes[chunk.route], rows, [&](int32_t row, bool goes_left) {
      *left = row;
      left += goes_left;
      *right = row;  // a row that goes left is overwritten by the next one
      right -= !goes_left;
    });
    chunk.num_left = left - (spare + chunk.start);
  });
  for (Chunk& chunk : chunks) routes[chunk.route].num_left += chunk.num_left;
  int64_t last = -1, left_at = 0, right_at = 0;
  for (Chunk& chunk : chunks) {
    if (chunk.route != last) {
      last = chunk.route;
      left_at = routes[last].rows.start;
      right_at = left_at + routes[last].num_left;
    }
    chunk.left_at = left_at;
    chunk.right_at = right_at;
    left_at += chunk.num_left;
    right_at += chunk.count - chunk.num_left;
  }
  team.Run(chunks.size(), [&](int64_t c, int64_t) {
    const Chunk& chunk = chunks[c];
    const int32_t* parted = spare + chunk.start;
    std::copy(parted, parted + chunk.num_left, order + chunk.left_at);
    std::reverse_copy(parted + chunk.num_left, parted + chunk.count,
                      order + chunk.right_at);
  });
}

}  // namespace jaxlab
