// Values to bins, and the distinct values of a column. Plain C ABI, called by ctypes.
//
// A bin is the number of cuts strictly below a value. The at most 255 cuts of a feature
// are padded with +inf to 16 blocks of 16, and found in two steps of 16 comparisons
// side by side: the block by the blocks' last cuts, then the place in the block. Cuts
// are sorted, so the comparisons that hold are counted, and no branch depends on data.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <exception>
#include <thread>
#include <vector>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

constexpr int kBlock = 16;            // cuts compared in one step
constexpr int kCuts = kBlock * kBlock;  // of a feature, padding included
constexpr int kTileRows = 128;        // a tile of the output stays in the L1 cache

template <class T>
inline int count_below(const T* cuts, T value) {
  int count = 0;
  for (int i = 0; i < kBlock; ++i) count += cuts[i] < value;
  return count;
}

#if defined(__AVX512F__)
inline int count_below(const float* cuts, float value) {
  return __builtin_popcount(_mm512_cmp_ps_mask(
      _mm512_loadu_ps(cuts), _mm512_set1_ps(value), _CMP_LT_OQ));
}

inline int count_below(const double* cuts, double value) {
  const __m512d x = _mm512_set1_pd(value);
  const unsigned low = _mm512_cmp_pd_mask(_mm512_loadu_pd(cuts), x, _CMP_LT_OQ);
  const unsigned high = _mm512_cmp_pd_mask(_mm512_loadu_pd(cuts + 8), x, _CMP_LT_OQ);
  return __builtin_popcount(low | high << 8);
}
#elif defined(__AVX2__)
inline __m256i below(const float* cuts, __m256 x) {
  return _mm256_castps_si256(_mm256_cmp_ps(_mm256_loadu_ps(cuts), x, _CMP_LT_OQ));
}

inline __m256i below(const double* cuts, __m256d x) {
  return _mm256_castpd_si256(_mm256_cmp_pd(_mm256_loadu_pd(cuts), x, _CMP_LT_OQ));
}

// Packing mixes the order, which counting does not mind.
inline int count_below(const float* cuts, float value) {
  const __m256 x = _mm256_set1_ps(value);
  const __m256i found = _mm256_packs_epi32(below(cuts, x), below(cuts + 8, x));
  return __builtin_popcount(_mm256_movemask_epi8(found)) / 2;
}

inline int count_below(const double* cuts, double value) {
  const __m256d x = _mm256_set1_pd(value);
  const __m256i low = _mm256_packs_epi32(below(cuts, x), below(cuts + 4, x));
  const __m256i high = _mm256_packs_epi32(below(cuts + 8, x), below(cuts + 12, x));
  const __m256i found = _mm256_packs_epi32(low, high);
  return __builtin_popcount(_mm256_movemask_epi8(found)) / 2;
}
#endif

// One feature of a tile; says whether it saw an infinite value.
template <class T>
bool bin_column(const char* data, int64_t stride, int64_t rows, const T* cuts,
                uint8_t missing, uint8_t* out, int64_t out_stride) {
  T last[kBlock];
  for (int i = 0; i < kBlock; ++i) last[i] = cuts[kBlock * i + kBlock - 1];
  const bool one_block = last[0] == std::numeric_limits<T>::infinity();
  bool infinite = false;
  for (int64_t row = 0; row < rows; ++row) {
    T value;
    std::memcpy(&value, data + row * stride, sizeof(T));
    const int start = one_block ? 0 : kBlock * count_below(last, value);
    const int bin = start + count_below(cuts + start, value);
    infinite |= std::fabs(value) == std::numeric_limits<T>::infinity();
    out[row * out_stride] = value == value ? static_cast<uint8_t>(bin) : missing;
  }
  return infinite;
}

struct Columns {
  int64_t count;
  const int64_t* data;      // addresses of the first values
  const int64_t* strides;   // bytes from one row to the next
  const uint8_t* doubles;   // 1: float64, 0: float32
  const float* cuts32;      // [count, kCuts], rounded down
  const double* cuts64;     // [count, kCuts]
};

bool bin_rows(const Columns& columns, int64_t begin, int64_t end, uint8_t missing,
              uint8_t* out, int64_t row_stride, const int64_t* places) {
  bool infinite = false;
  for (int64_t row = begin; row < end; row += kTileRows) {
    const int64_t rows = std::min<int64_t>(kTileRows, end - row);
    for (int64_t j = 0; j < columns.count; ++j) {
      const int64_t stride = columns.strides[j];
      const char* data = reinterpret_cast<const char*>(columns.data[j]) + row * stride;
      uint8_t* target = out + row * row_stride + places[j];
      infinite |= columns.doubles[j]
          ? bin_column(data, stride, rows, columns.cuts64 + j * kCuts, missing, target,
                       row_stride)
          : bin_column(data, stride, rows, columns.cuts32 + j * kCuts, missing, target,
                       row_stride);
    }
  }
  return infinite;
}

template <class T>
int64_t distinct(const char* data, int64_t stride, int64_t rows, int64_t limit,
                 double* found) {
  constexpr int kSlots = 1024;  // a power of two, well over the limit
  double keys[kSlots];
  bool used[kSlots] = {};
  int64_t count = 0;
  T previous = std::numeric_limits<T>::quiet_NaN();
  for (int64_t row = 0; row < rows; ++row) {
    T value;
    std::memcpy(&value, data + row * stride, sizeof(T));
    if (value == previous || value != value) continue;
    previous = value;
    const double key = static_cast<double>(value) + 0.0;  // -0 becomes 0
    uint64_t bits;
    std::memcpy(&bits, &key, sizeof bits);
    int slot = static_cast<int>(bits * 0x9E3779B97F4A7C15ull >> 54);
    while (used[slot] && keys[slot] != key) slot = (slot + 1) % kSlots;
    if (used[slot]) continue;
    if (count == limit) return limit + 1;
    used[slot] = true;
    keys[slot] = found[count++] = key;
  }
  return count;
}

}  // namespace

extern "C" {

// Bins rows x columns into out[row * row_stride + places[column]]; 1 if a value is
// infinite, else 0.
int32_t jaxlab_bin_columns(int64_t rows, int64_t count, const int64_t* data,
                           const int64_t* strides, const uint8_t* doubles,
                           const float* cuts32, const double* cuts64,
                           const int64_t* places, int32_t missing, uint8_t* out,
                           int64_t row_stride, int32_t threads) {
  const Columns columns{count, data, strides, doubles, cuts32, cuts64};
  std::atomic<bool> infinite{false};
  const auto work = [&](int64_t begin, int64_t end) {
    if (bin_rows(columns, begin, end, static_cast<uint8_t>(missing), out, row_stride,
                 places)) {
      infinite = true;
    }
  };
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  const int64_t parts = std::max<int64_t>(1, std::min<int64_t>(threads, tiles));
  const auto edge = [&](int64_t part) {
    return std::min(rows, tiles * part / parts * kTileRows);
  };
  std::vector<std::thread> others;
  int64_t part = 1;
  try {
    for (; part < parts; ++part) others.emplace_back(work, edge(part), edge(part + 1));
  } catch (const std::exception&) {  // no more threads to have: the rest is done here
  }
  work(0, edge(1));
  if (part < parts) work(edge(part), rows);
  for (auto& thread : others) thread.join();
  return infinite;
}

// Writes the distinct values, NaN left out, in order of appearance; gives their number,
// or limit + 1 as soon as there are more than limit (at most 512).
int64_t jaxlab_distinct(const void* data, int64_t stride, int64_t rows,
                        int32_t is_double, int64_t limit, double* found) {
  const char* bytes = static_cast<const char*>(data);
  return is_double ? distinct<double>(bytes, stride, rows, limit, found)
                   : distinct<float>(bytes, stride, rows, limit, found);
}

}  // extern "C"
