// A direct 2-D convolution and its two gradients in float32, called by XLA on a CPU.
//
// All three accumulate tiles of T scalars times V vectors of kLanes channels in registers. For that an image is first
// copied, zero-padded, into planes of kLanes channels, where neighbouring pixels lie a constant distance apart.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <type_traits>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

using Index = int64_t;

#if defined(__AVX512F__)
constexpr Index kLanes = 16, kAccumulators = 16;
#else
constexpr Index kLanes = 8, kAccumulators = 8;
#endif
constexpr Index kBandPixels = 256;  // what the weight gradient sums in registers before it adds to memory

typedef float Vector __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Vector& AsVector(float* values) { return *reinterpret_cast<Vector*>(values); }
inline const Vector& AsVector(const float* values) { return *reinterpret_cast<const Vector*>(values); }

Index Blocks(Index channels) { return (channels + kLanes - 1) / kLanes; }

struct Shape {  // of images, NHWC
  Index images, rows, columns, channels;
  explicit Shape(ffi::Span<const Index> d) : images(d[0]), rows(d[1]), columns(d[2]), channels(d[3]) {}
  Index size() const { return rows * columns * channels; }
};

struct Kernel {  // HWIO
  Index rows, columns, inputs, outputs;
  explicit Kernel(ffi::Span<const Index> d) : rows(d[0]), columns(d[1]), inputs(d[2]), outputs(d[3]) {}
  Index taps() const { return rows * columns; }
  Index margin() const { return std::max(rows, columns) / 2; }
};

// One image as [block][row][column][lane], zero in the margin around it. The columns are ordered by their remainder
// modulo `stride` first, so that the pixels that one tap reads are neighbours.
class Planes {
 public:
  Planes(const Shape& shape, Index margin, Index stride)
      : shape_(shape), margin_(margin), stride_(stride), width_((shape.columns + 2 * margin + stride - 1) / stride) {
    plane_ = (shape.rows + 2 * margin) * stride * width_ * kLanes;
    values_.resize(Blocks(shape.channels) * plane_ + kAccumulators * kLanes);  // a tile may read past the end
  }

  void Load(const float* image) {
    for (Index row = 0; row < shape_.rows; ++row) {
      for (Index column = 0; column < shape_.columns; ++column, image += shape_.channels) {
        float* target = Row(row) + Offset(column);
        for (Index first = 0; first < shape_.channels; first += kLanes, target += plane_) {
          if (first + kLanes <= shape_.channels) {
            AsVector(target) = AsVector(image + first);
          } else {
            std::copy(image + first, image + shape_.channels, target);
          }
        }
      }
    }
  }

  float* Row(Index row) { return values_.data() + (row + margin_) * stride_ * width_ * kLanes; }
  Index Offset(Index column) const {
    return ((column + margin_) % stride_ * width_ + (column + margin_) / stride_) * kLanes;
  }
  Index plane() const { return plane_; }

 private:
  Shape shape_;
  Index margin_, stride_, width_, plane_;
  std::vector<float> values_;
};

template <int T, int V>
struct Tile {
  Vector sum[T][V] = {};

  // sum[t][v] += scalar[t] * vector[v], `depth` times.
  template <Index kScalarDistance>
  inline __attribute__((always_inline)) void Add(const float* scalars, Index scalar_step, const float* vectors,
                                                 Index vector_distance, Index vector_step, Index depth) {
    for (; depth > 0; --depth, scalars += scalar_step, vectors += vector_step) {
      Vector vector[V];
      for (int v = 0; v < V; ++v) vector[v] = AsVector(vectors + v * vector_distance);
      for (int t = 0; t < T; ++t) {
        for (int v = 0; v < V; ++v) sum[t][v] += scalars[t * kScalarDistance] * vector[v];
      }
    }
  }
};

// Runs task(0) to task(tasks - 1). The caller works too, so a pool that is busy elsewhere cannot block it.
void Parallel(ffi::ThreadPool& pool, Index tasks, const std::function<void(Index)>& task) {
  struct Progress {
    std::atomic<Index> next{0};
    Index finished = 0;
    std::mutex mutex;
    std::condition_variable all_finished;
  };
  auto progress = std::make_shared<Progress>();  // a helper may start only after all is done and the caller gone
  std::function<void()> work = [progress, tasks, &task] {
    for (Index index; (index = progress->next++) < tasks;) {
      task(index);
      std::lock_guard<std::mutex> lock(progress->mutex);
      if (++progress->finished == tasks) progress->all_finished.notify_all();
    }
  };
  for (Index helper = 1; helper < std::min<Index>(pool.num_threads(), tasks); ++helper) {
    pool.Schedule(std::function<void()>(work));
  }
  work();
  std::unique_lock<std::mutex> lock(progress->mutex);
  progress->all_finished.wait(lock, [&] { return progress->finished == tasks; });
}

// Splits `images` into a few ranges a thread and runs task(range, begin, end) for each.
template <typename Task>
void ParallelRanges(ffi::ThreadPool& pool, Index ranges, Index images, const Task& task) {
  Parallel(pool, ranges, [&](Index range) { task(range, range * images / ranges, (range + 1) * images / ranges); });
}

Index Ranges(ffi::ThreadPool& pool, Index images) { return std::min<Index>(images, 4 * pool.num_threads()); }

struct Tap {
  Index row, column;     // of the input pixel, relative to `stride` times the output pixel's (i, j)
  const float* weights;  // [inputs][padded outputs]
};

// Output pixels (row + step i, column + step j): each is the sum of `taps`.
struct Phase {
  Index row, column;
  std::vector<Tap> taps;
};

struct Gather {
  std::vector<Phase> phases;
  Index stride, step, margin;
};

template <int V>
void GatherImages(const Gather& gather, const float* in, const Shape& in_shape, float* out, const Shape& out_shape,
                  Index begin, Index end) {
  constexpr int T = kAccumulators / V;
  const Index padded = Blocks(out_shape.channels) * kLanes, distance = gather.step * out_shape.channels;
  Planes planes(in_shape, gather.margin, gather.stride);
  std::vector<const float*> pixels;
  for (Index image = begin; image < end; ++image) {
    planes.Load(in + image * in_shape.size());
    for (const Phase& phase : gather.phases) {
      const Index width = (out_shape.columns - phase.column + gather.step - 1) / gather.step;
      for (Index first = 0; first < padded; first += V * kLanes) {  // outermost, so that its weights stay in the cache
        for (Index i = 0, row = phase.row; row < out_shape.rows; ++i, row += gather.step) {
          pixels.clear();
          for (const Tap& tap : phase.taps) {
            pixels.push_back(planes.Row(gather.stride * i + tap.row) + planes.Offset(tap.column));
          }
          float* out_row =
              out + image * out_shape.size() + (row * out_shape.columns + phase.column) * out_shape.channels;
          for (Index j = 0; j < width; j += T) {
            Tile<T, V> tile;
            for (size_t tap = 0; tap < phase.taps.size(); ++tap) {
              const float* scalars = pixels[tap] + j * kLanes;
              const float* weights = phase.taps[tap].weights + first;
              for (Index input = 0; input < in_shape.channels; input += kLanes) {
                const Index depth = std::min(kLanes, in_shape.channels - input);
                tile.template Add<kLanes>(scalars, 1, weights, kLanes, padded, depth);
                scalars += planes.plane();
                weights += kLanes * padded;
              }
            }
            for (Index t = 0; t < std::min<Index>(T, width - j); ++t) {
              for (int v = 0; v < V; ++v) {
                const Index channel = first + v * kLanes;
                float* target = out_row + (j + t) * distance + channel;
                if (channel + kLanes <= out_shape.channels) {
                  AsVector(target) = tile.sum[t][v];
                } else {
                  const float* values = reinterpret_cast<const float*>(&tile.sum[t][v]);
                  std::copy_n(values, out_shape.channels - channel, target);
                }
              }
            }
          }
        }
      }
    }
  }
}

void RunGather(ffi::ThreadPool& pool, const Gather& gather, const float* in, const Shape& in_shape, float* out,
               const Shape& out_shape) {
  const Index blocks = Blocks(out_shape.channels);
  const bool narrow = out_shape.columns / gather.step <= kAccumulators / 4;
  const auto images = blocks % 4 == 0 && narrow ? GatherImages<4> : blocks % 2 == 0 ? GatherImages<2> : GatherImages<1>;
  ParallelRanges(pool, Ranges(pool, out_shape.images), out_shape.images, [&](Index, Index begin, Index end) {
    images(gather, in, in_shape, out, out_shape, begin, end);
  });
}

ffi::Error Convolution(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> images, ffi::Buffer<ffi::F32> weights,
                       ffi::ResultBuffer<ffi::F32> out, Index stride, Index top, Index left) {
  const Kernel kernel(weights.dimensions());
  const Index padded = Blocks(kernel.outputs) * kLanes, tap_size = kernel.inputs * padded;
  std::vector<float> packed(kernel.taps() * tap_size);
  for (Index row = 0; row < kernel.taps() * kernel.inputs; ++row) {
    std::copy_n(weights.typed_data() + row * kernel.outputs, kernel.outputs, packed.data() + row * padded);
  }
  Phase phase{0, 0, {}};
  for (Index tap = 0; tap < kernel.taps(); ++tap) {
    phase.taps.push_back({tap / kernel.columns - top, tap % kernel.columns - left, packed.data() + tap * tap_size});
  }
  RunGather(pool, {{phase}, stride, 1, kernel.margin()}, images.typed_data(), Shape(images.dimensions()),
            out->typed_data(), Shape(out->dimensions()));
  return ffi::Error::Success();
}

// Each remainder of an input pixel modulo the stride is reached by its own taps, and by no other.
ffi::Error InputGradient(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> cotangent, ffi::Buffer<ffi::F32> weights,
                         ffi::ResultBuffer<ffi::F32> out, Index stride, Index top, Index left) {
  const Kernel kernel(weights.dimensions());
  const Index padded = Blocks(kernel.inputs) * kLanes, tap_size = kernel.outputs * padded;
  std::vector<float> packed(kernel.taps() * tap_size);
  const float* weight = weights.typed_data();
  for (Index tap = 0; tap < kernel.taps(); ++tap) {
    for (Index input = 0; input < kernel.inputs; ++input) {
      for (Index output = 0; output < kernel.outputs; ++output) {
        packed[tap * tap_size + output * padded + input] = *weight++;
      }
    }
  }
  std::vector<Phase> phases;
  for (Index row = 0; row < stride; ++row) {
    for (Index column = 0; column < stride; ++column) {
      Phase phase{row, column, {}};
      for (Index tap = 0; tap < kernel.taps(); ++tap) {
        const Index down = row + top - tap / kernel.columns, right = column + left - tap % kernel.columns;
        if (down % stride == 0 && right % stride == 0) {
          phase.taps.push_back({down / stride, right / stride, packed.data() + tap * tap_size});
        }
      }
      phases.push_back(phase);
    }
  }
  RunGather(pool, {phases, 1, stride, kernel.margin()}, cotangent.typed_data(), Shape(cotangent.dimensions()),
            out->typed_data(), Shape(out->dimensions()));
  return ffi::Error::Success();
}

// Adds the weight gradient of images [begin, end) to `total`, [taps][inputs][padded outputs].
template <int T, int V>
void AddWeightGradient(const float* images, const Shape& in_shape, const float* cotangent, const Shape& out_shape,
                       const Kernel& kernel, Index stride, Index top, Index left, Index begin, Index end,
                       float* total) {
  const Index padded = Blocks(kernel.outputs) * kLanes;
  const Index band = std::max<Index>(1, kBandPixels / out_shape.columns);
  const Index group = std::max<Index>(1, kBandPixels / (out_shape.rows * out_shape.columns));
  std::vector<Planes> in(group, Planes(in_shape, kernel.margin(), stride)), out(group, Planes(out_shape, 0, 1));
  for (Index start = begin; start < end; start += group) {
    const Index count = std::min(group, end - start);
    for (Index image = 0; image < count; ++image) {
      in[image].Load(images + (start + image) * in_shape.size());
      out[image].Load(cotangent + (start + image) * out_shape.size());
    }
    for (Index from = 0; from < out_shape.rows; from += band) {
      const Index to = std::min(from + band, out_shape.rows);
      for (Index tap = 0; tap < kernel.taps(); ++tap) {
        const Index row = tap / kernel.columns - top, offset = in[0].Offset(tap % kernel.columns - left);
        for (Index input = 0; input < kernel.inputs; input += T) {
          const Index scalars = offset + input / kLanes * in[0].plane() + input % kLanes;
          float* target = total + (tap * kernel.inputs + input) * padded;
          for (Index first = 0; first < padded; first += V * kLanes) {
            Tile<T, V> tile;
            const Index plane = out[0].plane(), vectors = first / kLanes * plane;
            for (Index image = 0; image < count; ++image) {
              for (Index i = from; i < to; ++i) {
                tile.template Add<1>(in[image].Row(stride * i + row) + scalars, kLanes, out[image].Row(i) + vectors,
                                     plane, kLanes, out_shape.columns);
              }
            }
            for (Index t = 0; t < std::min<Index>(T, kernel.inputs - input); ++t) {
              for (int v = 0; v < V; ++v) AsVector(target + t * padded + first + v * kLanes) += tile.sum[t][v];
            }
          }
        }
      }
    }
  }
}

// The images are split the same way each time, and the parts added in order, so that the sum is the same, bit for bit.
ffi::Error WeightGradient(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> images, ffi::Buffer<ffi::F32> cotangent,
                          ffi::ResultBuffer<ffi::F32> gradient, Index stride, Index top, Index left) {
  const Kernel kernel(gradient->dimensions());
  const Shape in_shape(images.dimensions()), out_shape(cotangent.dimensions());
  const Index blocks = Blocks(kernel.outputs), padded = blocks * kLanes;
  const Index size = kernel.taps() * kernel.inputs * padded;
  const Index ranges = std::min<Index>(in_shape.images, pool.num_threads());
  const auto add = kernel.inputs <= 4 ? AddWeightGradient<4, 1>
                   : blocks % 2 == 0  ? AddWeightGradient<kAccumulators / 2, 2>
                                      : AddWeightGradient<kAccumulators, 1>;
  std::vector<float> totals(ranges * size);
  ParallelRanges(pool, ranges, in_shape.images, [&](Index range, Index begin, Index end) {
    add(images.typed_data(), in_shape, cotangent.typed_data(), out_shape, kernel, stride, top, left, begin, end,
        totals.data() + range * size);
  });
  float* target = gradient->typed_data();
  for (Index row = 0; row < kernel.taps() * kernel.inputs; ++row) {
    for (Index output = 0; output < kernel.outputs; ++output) {
      float total = 0;
      for (Index range = 0; range < ranges; ++range) total += totals[range * size + row * padded + output];
      *target++ = total;
    }
  }
  return ffi::Error::Success();
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::Buffer<ffi::F32>>()
      .Arg<ffi::Buffer<ffi::F32>>()
      .Ret<ffi::Buffer<ffi::F32>>()
      .Attr<Index>("stride")
      .Attr<Index>("top")
      .Attr<Index>("left");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(lsg_convolution, Convolution, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(lsg_input_gradient, InputGradient, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(lsg_weight_gradient, WeightGradient, Binding());
