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
  int64_t feature;
  uint8_t goes_left[256];  // by bin
  int64_t num_left = 0;    // set by RouteRows
};

// Parts each segment of `order` in left and right rows, keeping their order.
//
// In chunks: each parts its rows into `spare` (left from the front, right from the
// back), then copies both to where they belong.
inline void RouteRows(Team& team, const Table& t, std::vector<Route>& routes,
                      int32_t* order, int32_t* spare) {
  constexpr int64_t kChunk = 8192;
  struct Chunk {
    int64_t route, start, count, num_left, left_at, right_at;
  };
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < routes.size(); ++i) {
    const Segment s = routes[i].rows;
    for (int64_t at = 0; at < s.count; at += kChunk) {
      chunks.push_back({static_cast<int64_t>(i), s.start + at,
                        std::min(kChunk, s.count - at), 0, 0, 0});
    }
  }
  team.Run(chunks.size(), [&](int64_t c, int64_t) {
    Chunk& chunk = chunks[c];
    const Route& route = routes[chunk.route];
    const int32_t* rows = order + chunk.start;
    const uint8_t* column = t.bins + route.feature;
    int32_t* left = spare + chunk.start;
    int32_t* right = left + chunk.count - 1;
    for (int64_t i = 0; i < chunk.count; ++i) {
      const int64_t ahead = std::min(i + 32, chunk.count - 1);
      __builtin_prefetch(column + rows[ahead] * t.num_features);
      const int32_t row = rows[i];
      const bool goes_left = route.goes_left[column[row * t.num_features]];
      *left = row;
      left += goes_left;
      *right = row;  // a row that goes left is overwritten by the next one
      right -= !goes_left;
    }
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
    const int32_t* from = spare + chunk.start;
    std::copy(from, from + chunk.num_left, order + chunk.left_at);
    std::reverse_copy(from + chunk.num_left, from + chunk.count,
                      order + chunk.right_at);
  });
}

}  // namespace jaxlab
