// The call from XLA that builds the histograms of several nodes (see histogram.py).
#include "histogram.h"

#include <vector>

#include "team.h"

namespace jaxlab {
namespace {

namespace ffi = xla::ffi;

// Sums of one feature range over the rows of each slot, for any number of channels.
void AddPlain(const Table& t, const int64_t* values, int64_t channels,
              const std::vector<int32_t>& rows, int64_t begin, int64_t end, int64_t* to) {
  for (const int32_t row : rows) {
    const uint8_t* bins = t.bins + row * t.num_features;
    for (int64_t j = begin; j < end; ++j) {
      int64_t* cell = to + (j * t.num_bins + bins[j]) * channels;
      for (int64_t c = 0; c < channels; ++c) cell[c] += values[row * channels + c];
    }
  }
}

// Tasks are pairs of slot and range of features, so no two add to the same place.
ffi::Error Histogram(ffi::ThreadPool pool, ffi::BufferR2<ffi::U8> bins,
                     ffi::BufferR2<ffi::S64> values, ffi::BufferR1<ffi::S32> slot,
                     ffi::ResultBufferR4<ffi::S64> out) {
  return Guarded([&] {
    const int64_t num_rows = bins.dimensions()[0], num_features = bins.dimensions()[1];
    const int64_t num_slots = out->dimensions()[0], num_bins = out->dimensions()[2];
    const int64_t channels = out->dimensions()[3];
    const Table t{bins.typed_data(), num_features, num_bins, nullptr};
    std::vector<std::vector<int32_t>> rows(num_slots);
    for (int64_t i = 0; i < num_rows; ++i) {
      const int32_t s = slot.typed_data()[i];
      if (s >= 0 && s < num_slots) rows[s].push_back(static_cast<int32_t>(i));
    }
    constexpr int64_t kWidth = 7;
    const int64_t tiles = (num_features + kWidth - 1) / kWidth;
    Team team(pool, std::max<int64_t>(1, num_rows * num_features / 8192));
    team.Run(num_slots * tiles, [&](int64_t task, int64_t) {
      const int64_t s = task / tiles, begin = task % tiles * kWidth;
      const int64_t end = std::min(begin + kWidth, num_features);
      int64_t* to = out->typed_data() + s * num_features * num_bins * channels;
      std::fill_n(to + begin * num_bins * channels, (end - begin) * num_bins * channels, 0);
      if (channels == 2) {
        AddRows(
            t, reinterpret_cast<const Sum*>(values.typed_data()), [](Sum v) { return v; },
            {rows[s].data(), 0, static_cast<int64_t>(rows[s].size())}, begin, end,
            reinterpret_cast<Sum*>(to) + begin * num_bins);
      } else {
        AddPlain(t, values.typed_data(), channels, rows[s], begin, end, to);
      }
    });
  });
}

}  // namespace
}  // namespace jaxlab

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    JaxlabHistogram, jaxlab::Histogram,
    xla::ffi::Ffi::Bind()
        .Ctx<xla::ffi::ThreadPool>()
        .Arg<xla::ffi::BufferR2<xla::ffi::U8>>()    // bins [rows, features]
        .Arg<xla::ffi::BufferR2<xla::ffi::S64>>()   // values [rows, channels]
        .Arg<xla::ffi::BufferR1<xla::ffi::S32>>()   // slot of each row
        .Ret<xla::ffi::BufferR4<xla::ffi::S64>>()); // [slots, features, bins, channels]
