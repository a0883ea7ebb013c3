// The transportation problem by the primal simplex method on spanning trees.
//
// Nodes are the rows (0 .. n-1) and the columns (n .. n+m-1); a basis is a spanning tree
// of n + m - 1 of the arcs row -> column, hung up at column 0. Masses are whole numbers:
// flows are exact, and a step of length zero is known as such. Trees are kept strongly
// feasible (arcs without flow point at the root), which rules out cycling: Cunningham
// 1976, "A network simplex method". Every mass must be above zero; a column of mass zero
// could not hang in such a tree.
//
// Pricing takes the best arc of each row in turn (Srinivasan and Thompson 1973), a few
// rows at a time, and pivots on the best of those until none is left. Rows are scanned
// by vectors; a pivot walks the cycle and the part of the tree that changes sides.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <utility>
#include <vector>

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// A reduced cost within this share of its two potentials is rounding.
constexpr double kResolution = 1e-14;
constexpr int kCandidates = 16;

constexpr int kLanes = 8;
typedef double Doubles __attribute__((vector_size(kLanes * 8)));
typedef int64_t Whole __attribute__((vector_size(kLanes * 8)));

// The least of c - h, and where.
std::pair<double, int> LeastDifference(const double* c, const double* h, int size) {
  double least = kInfinity;
  int place = 0;
  int j = 0;
  if (size >= 4 * kLanes) {
    constexpr int kAtOnce = 2;
    Doubles low[kAtOnce];
    Whole at[kAtOnce];
    for (int k = 0; k < kAtOnce; ++k) low[k] = kInfinity - Doubles{}, at[k] = Whole{};
    for (; j + kAtOnce * kLanes <= size; j += kAtOnce * kLanes) {
      for (int k = 0; k < kAtOnce; ++k) {
        Doubles x, y;
        std::memcpy(&x, c + j + k * kLanes, sizeof x);
        std::memcpy(&y, h + j + k * kLanes, sizeof y);
        x -= y;
        const auto is_lower = x < low[k];
        low[k] = is_lower ? x : low[k];
        at[k] = is_lower ? j + k * kLanes - Whole{} : at[k];
      }
    }
    for (int k = 0; k < kAtOnce; ++k) {
      for (int lane = 0; lane < kLanes; ++lane) {
        if (low[k][lane] < least) {
          least = low[k][lane];
          place = static_cast<int>(at[k][lane]) + lane;
        }
      }
    }
  }
  for (; j < size; ++j) {
    if (c[j] - h[j] < least) {
      least = c[j] - h[j];
      place = j;
    }
  }
  return {least, place};
}

struct Node {
  int parent = -1, first = -1, next = -1, previous = -1;  // -1: none
  int size = 1;       // nodes of the subtree
  int64_t flow = 0;   // on the arc between the node and its parent
  double price = 0;   // f of a row, g of a column: their sum is the cost of tree arcs
};

struct Candidate {
  int row, column;
};

class Simplex {
 public:
  Simplex(int n, int m, const double* cost, const int64_t* a, const int64_t* b)
      : n_(n), m_(m), cost_(cost), nodes_(n + m), lowered_(m) {
    order_.reserve(n + m);
    candidates_.reserve(kCandidates);
    Start(a, b);
    HangUp();
    for (int i = 0; i < n; ++i) {
      lowest_ = std::min(lowest_, Cost(i, n));
    }
    Refresh();
  }

  // Works for a while: as long as so many rows are scanned or arcs exchanged. Returns
  // whether the tree is optimal.
  bool Run(int64_t work) {
    const int64_t end = work_ + work;
    while (work_ < end) {
      if (!candidates_.empty()) {
        Exchange();
      } else if (idle_ < n_) {
        Price();
      } else if (is_fresh_) {
        return true;
      } else {
        Refresh();  // and look once more, without the rounding of many steps
      }
    }
    return false;
  }

  int64_t pivots() const { return pivots_; }

  // Writes arcs that carry mass, and potentials, feasible to the last bit; returns the
  // number of arcs.
  int64_t Read(int* rows, int* columns, int64_t* flows, double* f, double* g) {
    int64_t found = 0;
    for (int v = 0; v < n_ + m_; ++v) {
      const Node& node = nodes_[v];
      if (v == n_ || node.flow == 0) continue;
      rows[found] = IsRow(v) ? v : node.parent;
      columns[found] = (IsRow(v) ? node.parent : v) - n_;
      flows[found++] = node.flow;
    }
    for (int j = 0; j < m_; ++j) g[j] = nodes_[n_ + j].price;
    for (int i = 0; i < n_; ++i) f[i] = LeastDifference(Row(i), g, m_).first;
    return found;
  }

 private:
  bool IsRow(int v) const { return v < n_; }
  const double* Row(int i) const { return cost_ + static_cast<int64_t>(i) * m_; }
  double Cost(int row, int column) const { return Row(row)[column - n_]; }
  double CostToParent(int v) const {
    return IsRow(v) ? Cost(v, nodes_[v].parent) : Cost(nodes_[v].parent, v);
  }

  void SetPrice(int v, double price) {
    nodes_[v].price = price;
    if (!IsRow(v)) lowered_[v - n_] = price - kResolution * std::fabs(price);
  }

  void Link(int v, int parent) {
    Node& node = nodes_[v];
    int& first = nodes_[parent].first;
    node.parent = parent;
    node.previous = -1;
    node.next = first;
    if (first >= 0) nodes_[first].previous = v;
    first = v;
  }

  void Unlink(int v) {
    const Node& node = nodes_[v];
    if (node.previous >= 0) {
      nodes_[node.previous].next = node.next;
    } else {
      nodes_[node.parent].first = node.next;
    }
    if (node.next >= 0) nodes_[node.next].previous = node.previous;
  }

  // Rows in turn ship all they can to their cheapest open column. What is used up
  // becomes a leaf below the other end. Each row has an infinitesimal mass more, and
  // the root takes them: then only one side at a time is used up, and the tree is
  // strongly feasible.
  void Start(const int64_t* a, const int64_t* b) {
    using Mass = __int128;
    constexpr int kShift = 32;
    std::vector<Mass> left(n_ + m_);
    for (int i = 0; i < n_; ++i) left[i] = (static_cast<Mass>(a[i]) << kShift) + 1;
    for (int j = 0; j < m_; ++j) left[n_ + j] = static_cast<Mass>(b[j]) << kShift;
    left[n_] += n_;
    std::vector<int> open(n_), still;
    for (int i = 0; i < n_; ++i) open[i] = i;
    std::fill(lowered_.begin(), lowered_.end(), 0.0);
    for (int alive = n_ + m_; alive > 1; open.swap(still)) {
      still.clear();
      for (int i : open) {
        if (alive == 1) break;
        const int j = n_ + LeastDifference(Row(i), lowered_.data(), m_).second;
        const bool row_is_empty = left[i] <= left[j];
        const int leaf = row_is_empty ? i : j, other = row_is_empty ? j : i;
        const Mass mass = left[leaf];
        nodes_[leaf].parent = other;
        nodes_[leaf].flow =
            static_cast<int64_t>((mass + (Mass{1} << (kShift - 1))) >> kShift);
        left[other] -= mass;
        --alive;
        if (!row_is_empty) {
          lowered_[j - n_] = -kInfinity;
          still.push_back(i);
        }
      }
    }
  }

  // Turns the arcs from column 0 up, links children, counts nodes.
  void HangUp() {
    int v = n_, below = -1;
    int64_t flow = 0;
    while (v >= 0) {
      const int above = std::exchange(nodes_[v].parent, below);
      flow = std::exchange(nodes_[v].flow, flow);
      below = v;
      v = above;
    }
    for (v = 0; v < n_ + m_; ++v) {
      if (v != n_) Link(v, nodes_[v].parent);
    }
    FromTheRoot();
    for (size_t k = order_.size(); k-- > 1;) {
      nodes_[nodes_[order_[k]].parent].size += nodes_[order_[k]].size;
    }
  }

  void FromTheRoot() {
    order_.assign(1, n_);
    for (size_t k = 0; k < order_.size(); ++k) {
      for (int v = nodes_[order_[k]].first; v >= 0; v = nodes_[v].next) {
        order_.push_back(v);
      }
    }
  }

  // Computes the potentials anew from the tree: steps add up rounding errors.
  void Refresh() {
    FromTheRoot();
    SetPrice(n_, lowest_);
    for (size_t k = 1; k < order_.size(); ++k) {
      const int v = order_[k];
      SetPrice(v, CostToParent(v) - nodes_[nodes_[v].parent].price);
    }
    idle_ = 0;
    is_fresh_ = true;
    work_ += 1 + (n_ + m_) / 64;
  }

  // Scans rows for arcs that would pay.
  void Price() {
    for (int k = 0; k < n_ && idle_ < n_; ++k) {
      const int i = cursor_;
      cursor_ = i + 1 == n_ ? 0 : i + 1;
      ++idle_;
      ++work_;
      const auto [least, j] = LeastDifference(Row(i), lowered_.data(), m_);
      const double f = nodes_[i].price;
      if (least < f - kResolution * std::fabs(f)) {
        candidates_.push_back({i, n_ + j});
        if (candidates_.size() == kCandidates) return;
      }
    }
  }

  // Takes the best candidate into the tree, and drops those that pay no more.
  void Exchange() {
    double least = 0;
    size_t kept = 0, best = 0;
    for (const Candidate c : candidates_) {
      const double f = nodes_[c.row].price, g = nodes_[c.column].price;
      const double reduced = Cost(c.row, c.column) - f - g;
      if (reduced >= -kResolution * (std::fabs(f) + std::fabs(g))) continue;
      if (reduced < least) {
        least = reduced;
        best = kept;
      }
      candidates_[kept++] = c;
    }
    candidates_.resize(kept);
    ++work_;
    if (kept == 0) return;
    const Candidate c = candidates_[best];
    candidates_[best] = candidates_.back();
    candidates_.pop_back();
    Pivot(c.row, c.column, least);
    idle_ = 0;
    is_fresh_ = false;
    if (++pivots_ % (2 * static_cast<int64_t>(n_ + m_)) == 0) Refresh();
  }

  void Pivot(int row, int column, double reduced) {
    // The cycle goes from where both ways meet down to the row, along the new arc, and
    // up from the column. Flow falls on arcs of rows below the one side and of columns
    // below the other. Of the arcs that empty first the last one on the cycle leaves:
    // that keeps the tree strongly feasible.
    int u = row, v = column;
    int64_t at_row = INT64_MAX, at_column = INT64_MAX;
    int leaves_at_row = -1, leaves_at_column = -1;
    while (u != v) {
      if (nodes_[u].size < nodes_[v].size) {
        if (IsRow(u) && nodes_[u].flow < at_row) {
          at_row = nodes_[u].flow;
          leaves_at_row = u;
        }
        u = nodes_[u].parent;
      } else {
        if (!IsRow(v) && nodes_[v].flow <= at_column) {
          at_column = nodes_[v].flow;
          leaves_at_column = v;
        }
        v = nodes_[v].parent;
      }
    }
    const int meeting = u;
    const bool is_at_column = at_column <= at_row;
    const int64_t flow = std::min(at_row, at_column);
    const int out = is_at_column ? leaves_at_column : leaves_at_row;
    const int in = is_at_column ? column : row, other = is_at_column ? row : column;
    if (flow > 0) {
      for (int x = row; x != meeting; x = nodes_[x].parent) {
        nodes_[x].flow += IsRow(x) ? -flow : flow;
      }
      for (int x = column; x != meeting; x = nodes_[x].parent) {
        nodes_[x].flow += IsRow(x) ? flow : -flow;
      }
    }
    Hang(in, out, other, meeting, flow);
    Shift(in, reduced);
  }

  // Cuts off the subtree of `out` and hangs it up below `other` by its node `in`.
  void Hang(int in, int out, int other, int meeting, int64_t flow) {
    const int moved = nodes_[out].size;
    for (int x = nodes_[out].parent; x != meeting; x = nodes_[x].parent) {
      nodes_[x].size -= moved;
    }
    for (int x = other; x != meeting; x = nodes_[x].parent) nodes_[x].size += moved;
    int below = 0;
    for (int x = in, parent = other;;) {
      Node& node = nodes_[x];
      const int above = node.parent;
      Unlink(x);
      Link(x, parent);
      flow = std::exchange(node.flow, flow);
      below = std::exchange(node.size, moved - below);
      if (x == out) return;
      parent = x;
      x = above;
    }
  }

  // Makes the new arc's reduced cost zero: shifts the potentials below it, or all others
  // the other way where those are fewer.
  void Shift(int top, double reduced) {
    double rows = IsRow(top) ? reduced : -reduced;
    const bool is_below = 2 * nodes_[top].size <= n_ + m_;
    if (!is_below) rows = -rows;
    const int start = is_below ? top : n_, left_out = is_below ? -1 : top;
    const double shift[2] = {-rows, rows};
    for (int v = start;;) {
      int w = -1;
      if (v != left_out) {
        SetPrice(v, nodes_[v].price + shift[IsRow(v)]);
        w = nodes_[v].first;
      }
      while (w < 0) {
        if (v == start) return;
        w = nodes_[v].next;
        if (w < 0) v = nodes_[v].parent;
      }
      v = w;
    }
  }

  const int n_, m_;
  const double* const cost_;
  std::vector<Node> nodes_;
  std::vector<double> lowered_;  // potentials of the columns, less what may be rounding
  std::vector<int> order_;
  std::vector<Candidate> candidates_;
  double lowest_ = kInfinity;  // of the root's column: its potential
  int cursor_ = 0;             // row to scan next
  int idle_ = 0;               // rows scanned since the last exchange
  bool is_fresh_ = false;      // potentials have come from the tree as it is
  int64_t work_ = 0, pivots_ = 0;
};

}  // namespace

extern "C" {

// The cost stays the caller's, and must outlive the solver. Null without memory.
void* jaxlab_simplex_start(int32_t n, int32_t m, const double* cost, const int64_t* a,
                           const int64_t* b) {
  try {
    return new Simplex(n, m, cost, a, b);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

// Returns the number of pivots so far, or -1 when the tree is optimal.
int64_t jaxlab_simplex_run(void* solver, int64_t work) {
  auto* simplex = static_cast<Simplex*>(solver);
  return simplex->Run(work) ? -1 : simplex->pivots();
}

int64_t jaxlab_simplex_read(void* solver, int32_t* rows, int32_t* columns,
                            int64_t* flows, double* f, double* g) {
  return static_cast<Simplex*>(solver)->Read(rows, columns, flows, f, g);
}

void jaxlab_simplex_end(void* solver) { delete static_cast<Simplex*>(solver); }

}  // extern "C"
