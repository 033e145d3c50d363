// A convolution of any kernel and stride, and its gradients, summed as they are defined.
//
// An image is first copied, zero-padded, into planes of kLanes channels, where neighbouring pixels lie a constant
// distance apart.

#pragma once

#include "tiles.h"

constexpr Index kBandPixels = 256;  // what a weight gradient sums in registers before it adds to memory

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

inline void RunGather(const Threads& threads, const Gather& gather, const float* in, const Shape& in_shape, float* out,
                      const Shape& out_shape) {
  const Index blocks = Blocks(out_shape.channels);
  const bool narrow = out_shape.columns / gather.step <= kAccumulators / 4;
  const auto images = blocks % 4 == 0 && narrow ? GatherImages<4> : blocks % 2 == 0 ? GatherImages<2> : GatherImages<1>;
  ForRanges(threads, out_shape.images,
            [&](Index begin, Index end) { images(gather, in, in_shape, out, out_shape, begin, end); });
}

inline void DirectConvolution(const Threads& threads, const float* images, const Shape& in_shape, const float* weights,
                              const Kernel& kernel, const Placement& place, float* out, const Shape& out_shape) {
  const Index padded = Blocks(kernel.outputs) * kLanes, tap_size = kernel.inputs * padded;
  std::vector<float> packed(kernel.taps() * tap_size);
  for (Index row = 0; row < kernel.taps() * kernel.inputs; ++row) {
    std::copy_n(weights + row * kernel.outputs, kernel.outputs, packed.data() + row * padded);
  }
  Phase phase{0, 0, {}};
  for (Index tap = 0; tap < kernel.taps(); ++tap) {
    phase.taps.push_back(
        {tap / kernel.columns - place.top, tap % kernel.columns - place.left, packed.data() + tap * tap_size});
  }
  RunGather(threads, {{phase}, place.stride, 1, kernel.margin()}, images, in_shape, out, out_shape);
}

// Each remainder of an input pixel modulo the stride is reached by its own taps, and by no other.
inline void DirectInputGradient(const Threads& threads, const float* cotangent, const Shape& out_shape,
                                const float* weights, const Kernel& kernel, const Placement& place, float* gradient,
                                const Shape& in_shape) {
  const Index padded = Blocks(kernel.inputs) * kLanes, tap_size = kernel.outputs * padded;
  std::vector<float> packed(kernel.taps() * tap_size);
  for (Index tap = 0; tap < kernel.taps(); ++tap) {
    for (Index input = 0; input < kernel.inputs; ++input) {
      for (Index output = 0; output < kernel.outputs; ++output) {
        packed[tap * tap_size + output * padded + input] = *weights++;
      }
    }
  }
  std::vector<Phase> phases;
  for (Index row = 0; row < place.stride; ++row) {
    for (Index column = 0; column < place.stride; ++column) {
      Phase phase{row, column, {}};
      for (Index tap = 0; tap < kernel.taps(); ++tap) {
        const Index down = row + place.top - tap / kernel.columns, right = column + place.left - tap % kernel.columns;
        if (down % place.stride == 0 && right % place.stride == 0) {
          phase.taps.push_back({down / place.stride, right / place.stride, packed.data() + tap * tap_size});
        }
      }
      phases.push_back(phase);
    }
  }
  RunGather(threads, {phases, 1, place.stride, kernel.margin()}, cotangent, out_shape, gradient, in_shape);
}

// Adds the weight gradient of images [begin, end) to `total`, [taps][inputs][padded outputs].
template <int T, int V>
void AddWeightGradient(const float* images, const Shape& in_shape, const float* cotangent, const Shape& out_shape,
                       const Kernel& kernel, const Placement& place, Index begin, Index end, float* total) {
  const Index padded = Blocks(kernel.outputs) * kLanes;
  const Index band = std::max<Index>(1, kBandPixels / out_shape.columns);
  const Index pixels = out_shape.rows * out_shape.columns;
  const Index group = std::min(std::max<Index>(1, kBandPixels / pixels), end - begin);
  std::vector<Planes> in(group, Planes(in_shape, kernel.margin(), place.stride)), out(group, Planes(out_shape, 0, 1));
  for (Index start = begin; start < end; start += group) {
    const Index count = std::min(group, end - start);
    for (Index image = 0; image < count; ++image) {
      in[image].Load(images + (start + image) * in_shape.size());
      out[image].Load(cotangent + (start + image) * out_shape.size());
    }
    for (Index from = 0; from < out_shape.rows; from += band) {
      const Index to = std::min(from + band, out_shape.rows);
      for (Index tap = 0; tap < kernel.taps(); ++tap) {
        const Index row = tap / kernel.columns - place.top, offset = in[0].Offset(tap % kernel.columns - place.left);
        for (Index input = 0; input < kernel.inputs; input += T) {
          const Index scalars = offset + input / kLanes * in[0].plane() + input % kLanes;
          float* target = total + (tap * kernel.inputs + input) * padded;
          for (Index first = 0; first < padded; first += V * kLanes) {
            Tile<T, V> tile;
            const Index plane = out[0].plane(), vectors = first / kLanes * plane;
            for (Index image = 0; image < count; ++image) {
              for (Index i = from; i < to; ++i) {
                tile.template Add<1>(in[image].Row(place.stride * i + row) + scalars, kLanes, out[image].Row(i) + vectors,
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

inline void DirectWeightGradient(const Threads& threads, const float* images, const Shape& in_shape,
                                 const float* cotangent, const Shape& out_shape, const Kernel& kernel,
                                 const Placement& place, float* gradient) {
  const Index padded = Blocks(kernel.outputs) * kLanes, rows = kernel.taps() * kernel.inputs;
  const auto add = kernel.inputs <= 4                  ? AddWeightGradient<4, 1>
                   : Blocks(kernel.outputs) % 2 == 0 ? AddWeightGradient<kAccumulators / 2, 2>
                                                       : AddWeightGradient<kAccumulators, 1>;
  const auto total = SumOverImages(threads, in_shape.images, rows * padded, [&](Index begin, Index end, float* part) {
    add(images, in_shape, cotangent, out_shape, kernel, place, begin, end, part);
  });
  for (Index row = 0; row < rows; ++row) {
    std::copy_n(total.data() + row * padded, kernel.outputs, gradient + row * kernel.outputs);
  }
}
