// The three maps of a convolution (see nn/conv/bilinear.py), called from XLA.
#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "buffer.h"
#include "product.h"
#include "team.h"

namespace jaxlab {
namespace {

namespace ffi = xla::ffi;

enum Role : int64_t { kImage = 0, kKernel = 1, kOutput = 2 };

struct Geometry {
  std::array<int64_t, 2> image, kernel, output, stride, before;

  static int64_t Area(const std::array<int64_t, 2>& size) { return size[0] * size[1]; }
};

// Calls f(image, kernel, output), numbers of cells, for all that meet: output pixel u
// sees entry i of the kernel at image pixel u * stride + i - before.
template <typename F>
void ForEachMeeting(const Geometry& g, const F& f) {
  for (int64_t u = 0; u < g.output[0]; ++u) {
    for (int64_t v = 0; v < g.output[1]; ++v) {
      for (int64_t i = 0; i < g.kernel[0]; ++i) {
        const int64_t y = u * g.stride[0] + i - g.before[0];
        if (y < 0 || y >= g.image[0]) continue;
        for (int64_t j = 0; j < g.kernel[1]; ++j) {
          const int64_t x = v * g.stride[1] + j - g.before[1];
          if (x < 0 || x >= g.image[1]) continue;
          f(y * g.image[1] + x, i * g.kernel[1] + j, u * g.output[1] + v);
        }
      }
    }
  }
}

// Lists what meets in each cell of the result.
Meetings Meet(const Geometry& g, Role result, int64_t cells, bool is_swapped) {
  Meetings m;
  m.begin.assign(cells + 1, 0);
  const auto place = [result](int64_t image, int64_t kernel, int64_t output) {
    return result == kImage ? image : result == kKernel ? kernel : output;
  };
  ForEachMeeting(g, [&](int64_t x, int64_t w, int64_t y) { ++m.begin[place(x, w, y) + 1]; });
  for (int64_t c = 0; c < cells; ++c) m.begin[c + 1] += m.begin[c];
  m.pairs.resize(m.begin[cells]);
  std::vector<int64_t> next(m.begin.begin(), m.begin.end() - 1);
  ForEachMeeting(g, [&](int64_t x, int64_t w, int64_t y) {
    // Rows of a tile are images of a batch, or the channels of the image.
    int64_t left = result == kImage ? y : x, right = result == kKernel ? y : w;
    if (is_swapped) std::swap(left, right);
    m.pairs[next[place(x, w, y)]++] = {static_cast<int32_t>(left),
                                       static_cast<int32_t>(right)};
  });
  return m;
}

// Memory for packed operands, kept from call to call: fresh pages would cost as much
// time as packing.
class Scratch {
 public:
  Scratch() {
    const std::lock_guard<std::mutex> lock(mutex());
    if (!kept().empty()) {
      buffer_ = std::move(kept().back());
      kept().pop_back();
    } else {
      buffer_ = std::make_unique<Buffer<float>>();
    }
  }
  ~Scratch() {
    const std::lock_guard<std::mutex> lock(mutex());
    kept().push_back(std::move(buffer_));
  }
  float* Reserve(int64_t size) { return buffer_->Reserve(size); }

 private:
  using Buffers = std::vector<std::unique_ptr<Buffer<float>>>;
  static std::mutex& mutex() {
    static std::mutex mutex;
    return mutex;
  }
  static Buffers& kept() {
    static Buffers buffers;
    return buffers;
  }
  std::unique_ptr<Buffer<float>> buffer_;
};

// What the tiles must do for rows x lanes, padding included.
int64_t PaddedSize(int64_t rows, int64_t lanes) {
  constexpr int64_t kHalf = kRows / 2;
  return CountPanels(rows, kHalf) * kHalf * CountPanels(lanes, kVector) * kVector;
}

void Multiply(ffi::ThreadPool& pool, int64_t shares, Operand left, Operand right,
              Result result, const Geometry& g, Role role) {
  const bool is_swapped =
      PaddedSize(right.lanes, left.lanes) < PaddedSize(left.lanes, right.lanes);
  if (is_swapped) {
    std::swap(left, right);
    std::swap(result.row_stride, result.lane_stride);
  }
  const Meetings meetings = Meet(g, role, result.cells, is_swapped);
  const int64_t left_size = PackedSize(left, kRows);
  Scratch scratch;
  float* packed = scratch.Reserve(left_size + PackedSize(right, kLanes));
  const Packed a{packed, kRows, CountPanels(left.lanes, kRows), left.cells, left.depth};
  const Packed b{packed + left_size, kLanes, CountPanels(right.lanes, kLanes), right.cells,
                 right.depth};
  const int64_t work = meetings.pairs.size() * left.depth * left.lanes * right.lanes;
  // Virtual devices of one machine share its threads and call at the same time.
  const int64_t devices = std::max<int64_t>(1, shares);
  const int64_t share = std::max<int64_t>(1, pool.num_threads() / devices);
  Team team(pool, std::min<int64_t>(share, 1 + work / (1 << 21)));
  // Blocks are packed some at a time.
  constexpr int64_t kBlocks = 16;
  const int64_t a_blocks = a.panels * a.cells, b_blocks = b.panels * b.cells;
  const int64_t a_tasks = CountPanels(a_blocks, kBlocks);
  const int64_t b_tasks = CountPanels(b_blocks, kBlocks);
  team.Run(a_tasks + b_tasks, [&](int64_t task, int64_t) {
    const bool is_left = task < a_tasks;
    const int64_t begin = (is_left ? task : task - a_tasks) * kBlocks;
    const int64_t end = std::min(begin + kBlocks, is_left ? a_blocks : b_blocks);
    for (int64_t i = begin; i < end; ++i) {
      if (is_left) {
        PackBlock<kRows>(left, i / a.cells, i % a.cells, packed + i * a.block());
      } else {
        PackBlock<kLanes>(right, i / b.cells, i % b.cells,
                          packed + left_size + i * b.block());
      }
    }
  });
  // Neighbouring tasks read the same panels, which stay in the cache.
  const int64_t parts = std::min<int64_t>(result.cells, 4);
  team.Run(a.panels * b.panels * parts, [&](int64_t task, int64_t) {
    const int64_t part = task % parts, panels = task / parts;
    MultiplyPanels(a, panels % a.panels, left.lanes, b, panels / a.panels, right.lanes,
                   meetings, result.cells * part / parts, result.cells * (part + 1) / parts,
                   result);
  });
}

using Array = ffi::BufferR4<ffi::F32>;

// An image or output (batch, rows, columns, channels), with the batch as lanes and
// summed over channels, or the other way round.
Operand Pixels(const float* data, int64_t batch, int64_t cells, int64_t channels,
               bool is_batch_summed) {
  if (is_batch_summed) {
    return {data, cells, batch, channels, channels, cells * channels, 1};
  }
  return {data, cells, channels, batch, channels, 1, cells * channels};
}

ffi::Error Convolve(ffi::ThreadPool pool, Array first, Array second,
                    ffi::ResultBufferR4<ffi::F32> found, int64_t role, int64_t shares,
                    ffi::Span<const int64_t> stride, ffi::Span<const int64_t> before) {
  return Guarded([&] {
    const auto x = role == kImage ? found->dimensions() : first.dimensions();
    const auto w = role == kKernel  ? found->dimensions()
                   : role == kImage ? first.dimensions()
                                    : second.dimensions();
    const auto y = role == kOutput ? found->dimensions() : second.dimensions();
    const Geometry g{{x[1], x[2]}, {w[0], w[1]}, {y[1], y[2]}, {stride[0], stride[1]},
                     {before[0], before[1]}};
    const int64_t batch = x[0], c = w[2], d = w[3];
    const int64_t image = Geometry::Area(g.image), kernel = Geometry::Area(g.kernel);
    const int64_t output = Geometry::Area(g.output);
    const float *a = first.typed_data(), *b = second.typed_data();
    float* to = found->typed_data();
    switch (role) {
      case kImage:
        return Multiply(pool, shares, Pixels(b, batch, output, d, false),
                        {a, kernel, d, c, c * d, 1, d}, {to, image, c, image * c, 1}, g,
                        kImage);
      case kKernel:
        return Multiply(pool, shares, Pixels(a, batch, image, c, true),
                        Pixels(b, batch, output, d, true), {to, kernel, c * d, d, 1}, g,
                        kKernel);
      default:
        return Multiply(pool, shares, Pixels(a, batch, image, c, false),
                        {b, kernel, c, d, c * d, d, 1}, {to, output, d, output * d, 1}, g,
                        kOutput);
    }
  });
}

}  // namespace
}  // namespace jaxlab

XLA_FFI_DEFINE_HANDLER_SYMBOL(JaxlabConvolve, jaxlab::Convolve,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<jaxlab::Array>()
                                  .Arg<jaxlab::Array>()
                                  .Ret<jaxlab::Array>()
                                  .Attr<int64_t>("result")
                                  .Attr<int64_t>("shares")
                                  .Attr<xla::ffi::Span<const int64_t>>("stride")
                                  .Attr<xla::ffi::Span<const int64_t>>("before"));
