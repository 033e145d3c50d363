// Winograd's convolution F(4, 3) along the columns, and both gradients (Lavin and Gray, 2016, arXiv:1509.09308).
//
// Of 4 neighbouring output pixels, a row of 3 weights needs 6 products where the definition has 12: those of 6
// combinations of the 6 input pixels and 6 combinations of the 3 weights, one by one. A group is 4 neighbouring pixels.

#pragma once

#include "tiles.h"

constexpr Index kGroup = 4, kProducts = 6;
constexpr Index kPositions = 32;  // groups whose products are taken before they are separated: few enough for the cache
constexpr float kWeights[kProducts][3] = {{1 / 4.f, 0, 0},
                                          {-1 / 6.f, -1 / 6.f, -1 / 6.f},
                                          {-1 / 6.f, 1 / 6.f, -1 / 6.f},
                                          {1 / 24.f, 1 / 12.f, 1 / 6.f},
                                          {1 / 24.f, -1 / 12.f, 1 / 6.f},
                                          {0, 0, 1}};

inline bool HasWinograd(const Shape& images, const Kernel& kernel, const Placement& place) {
  return kernel.rows == 3 && kernel.columns == 3 && place.stride == 1 && images.columns % kGroup == 0 &&
         kernel.inputs % kLanes == 0 && kernel.outputs % kLanes == 0;
}

// The combinations of one image, [product][block][row][group][lane], with a row of zeros above and below.
class Combined {
 public:
  explicit Combined(const Shape& shape)
      : shape_(shape), groups_(shape.columns / kGroup), plane_((shape.rows + 2) * groups_ * kLanes) {
    values_.resize(kProducts * Blocks(shape.channels) * plane_ + kAccumulators * kLanes);  // a tile may read past it
  }

  // Of input pixels: those of a group and its two neighbours.
  void LoadInput(const float* image) {
    ForGroups(image, [&](const float* pixel, Index group, float* target) {
      const auto at = [&](Index column) { return AsVector(pixel + column * shape_.channels); };
      const Vector before = group > 0 ? at(-1) : Vector{}, after = group + 1 < groups_ ? at(kGroup) : Vector{};
      const Vector even = at(3) - 4 * at(1), odd = at(2) - 4 * at(0);
      const Vector far = at(3) - at(1), near = 2 * (at(2) - at(0));
      Put(target, {4 * before - 5 * at(1) + at(3), even + odd, even - odd, far + near, far - near,
                   4 * at(0) - 5 * at(2) + after});
    });
  }

  // Of a cotangent's pixels: the transpose of `Separate`.
  void LoadCotangent(const float* image) {
    ForGroups(image, [&](const float* pixel, Index, float* target) {
      const auto at = [&](Index column) { return AsVector(pixel + column * shape_.channels); };
      const Vector even = at(0) + at(2), odd = at(1) + at(3), far = at(0) + 4 * at(2), near = 2 * at(1) + 8 * at(3);
      Put(target, {at(0), even + odd, even - odd, far + near, far - near, at(3)});
    });
  }

  // Where row `row` (from -1 on) of a product's block begins.
  const float* Row(Index product, Index block, Index row) const {
    return values_.data() + (product * Blocks(shape_.channels) + block) * plane_ + (row + 1) * groups_ * kLanes;
  }
  Index plane() const { return plane_; }
  Index row_distance() const { return groups_ * kLanes; }

 private:
  template <typename Combine>
  void ForGroups(const float* image, const Combine& combine) {
    const Index blocks = Blocks(shape_.channels);
    for (Index row = 0; row < shape_.rows; ++row) {
      for (Index group = 0; group < groups_; ++group, image += kGroup * shape_.channels) {
        float* target = values_.data() + ((row + 1) * groups_ + group) * kLanes;
        for (Index block = 0; block < blocks; ++block) {
          combine(image + block * kLanes, group, target + block * plane_);
        }
      }
    }
  }

  void Put(float* target, const Vector (&combinations)[kProducts]) {
    for (Index product = 0; product < kProducts; ++product) {
      AsVector(target + product * Blocks(shape_.channels) * plane_) = combinations[product];
    }
  }

  Shape shape_;
  Index groups_, plane_;
  std::vector<float> values_;
};

// The output pixels of a group from its products, which lie `distance` apart.
inline void Separate(const float* products, Index distance, float* pixels, Index channels) {
  const auto at = [&](Index product) { return AsVector(products + product * distance); };
  const Vector even = at(1) + at(2), odd = at(1) - at(2), far = at(3) + at(4), near = at(3) - at(4);
  AsVector(pixels) = at(0) + even + far;
  AsVector(pixels + channels) = odd + 2 * near;
  AsVector(pixels + 2 * channels) = even + 4 * far;
  AsVector(pixels + 3 * channels) = odd + 8 * near + at(5);
}

// One product of T positions and V vectors of output channels, with `weights` of [row][input][output]. Kept out of line:
// inlined into the loops around it, compilers run out of registers.
template <int T, int V>
__attribute__((noinline)) void Multiply(const float* pixels, Index row_distance, Index plane, Index inputs,
                                        const float* weights, Index outputs, float* target) {
  Tile<T, V> tile;
  for (Index row = 0; row < 3; ++row, pixels += row_distance) {
    const float* scalars = pixels;
    for (Index input = 0; input < inputs; input += kLanes, scalars += plane, weights += kLanes * outputs) {
      tile.template Add<kLanes>(scalars, 1, weights, kLanes, outputs, kLanes);
    }
  }
  for (int t = 0; t < T; ++t) {
    for (int v = 0; v < V; ++v) AsVector(target + (t * V + v) * kLanes) = tile.sum[t][v];
  }
}

// `weights` are [product][row][input][output].
template <int V>
void WinogradImages(const float* in, const Shape& in_shape, const std::vector<float>& weights, float* out,
                    const Shape& out_shape, Index begin, Index end) {
  constexpr Index T = kAccumulators / V, kBatch = kPositions / T, kDistance = kPositions * V * kLanes;
  const Index positions = in_shape.rows * in_shape.columns / kGroup, tiles = (positions + T - 1) / T;
  const Index together = std::min(std::max<Index>(1, kPositions / positions), end - begin);
  const Index inputs = in_shape.channels, outputs = out_shape.channels;
  std::vector<Combined> images(together, Combined(in_shape));
  std::vector<float> products(kProducts * kDistance);
  for (Index start = begin; start < end; start += together) {
    const Index count = std::min(together, end - start);
    for (Index image = 0; image < count; ++image) images[image].LoadInput(in + (start + image) * in_shape.size());
    for (Index first = 0; first < outputs; first += V * kLanes) {
      for (Index batch = 0; batch < count * tiles; batch += kBatch) {
        const Index stop = std::min(batch + kBatch, count * tiles);
        for (Index product = 0; product < kProducts; ++product) {
          float* target = products.data() + product * kDistance;
          for (Index index = batch; index < stop; ++index, target += T * V * kLanes) {
            const Combined& image = images[index / tiles];
            Multiply<T, V>(image.Row(product, 0, -1) + index % tiles * T * kLanes, image.row_distance(), image.plane(),
                           inputs, weights.data() + product * 3 * inputs * outputs + first, outputs, target);
          }
        }
        const float* source = products.data();
        for (Index index = batch; index < stop; ++index, source += T * V * kLanes) {
          const Index position = index % tiles * T;
          float* pixels = out + (start + index / tiles) * out_shape.size() + position * kGroup * outputs + first;
          for (Index t = 0; t < std::min(T, positions - position); ++t, pixels += kGroup * outputs) {
            for (int v = 0; v < V; ++v) {
              Separate(source + (t * V + v) * kLanes, kDistance, pixels + v * kLanes, outputs);
            }
          }
        }
      }
    }
  }
}

// The combinations of weights [row][column][in][out], `size` of them a tap, as [product][row][in][out].
inline std::vector<float> CombineWeights(const float* weights, Index size) {
  std::vector<float> combined(kProducts * 3 * size);
  for (Index row = 0; row < 3; ++row, weights += 3 * size) {
    for (Index index = 0; index < size; index += kLanes) {
      const float* tap = weights + index;
      const Vector left = AsVector(tap), middle = AsVector(tap + size), right = AsVector(tap + 2 * size);
      for (Index product = 0; product < kProducts; ++product) {
        const float* factors = kWeights[product];
        AsVector(combined.data() + (product * 3 + row) * size + index) =
            factors[0] * left + factors[1] * middle + factors[2] * right;
      }
    }
  }
  return combined;
}

// With weights [row][column][in][out].
inline void WinogradConvolution(const Threads& threads, const float* in, const Shape& in_shape, const float* weights,
                                float* out, const Shape& out_shape) {
  const std::vector<float> combined = CombineWeights(weights, in_shape.channels * out_shape.channels);
  const Index blocks = Blocks(out_shape.channels), positions = in_shape.rows * in_shape.columns / kGroup;
  const auto images = blocks % 4 == 0 && positions <= kAccumulators / 4 ? WinogradImages<4>
                      : blocks % 2 == 0                                 ? WinogradImages<2>
                                                                        : WinogradImages<1>;
  ForImages(threads, in_shape.images,
            [&](Index begin, Index end) { images(in, in_shape, combined, out, out_shape, begin, end); });
}

// A convolution with the kernel turned around, from outputs to inputs.
inline void WinogradInputGradient(const Threads& threads, const float* cotangent, const Shape& out_shape,
                                  const float* weights, const Kernel& kernel, float* gradient, const Shape& in_shape) {
  std::vector<float> turned(kernel.taps() * kernel.inputs * kernel.outputs);
  float* target = turned.data();
  for (Index tap = kernel.taps() - 1; tap >= 0; --tap) {
    for (Index output = 0; output < kernel.outputs; ++output) {
      for (Index input = 0; input < kernel.inputs; ++input) {
        *target++ = weights[(tap * kernel.inputs + input) * kernel.outputs + output];
      }
    }
  }
  WinogradConvolution(threads, cotangent, out_shape, turned.data(), gradient, in_shape);
}

// Adds the gradient of images [begin, end) in the combined weights, [product][row][input][output], to `total`.
template <int V>
void AddWinogradGradient(const float* images, const Shape& in_shape, const float* cotangent, const Shape& out_shape,
                         Index begin, Index end, float* total) {
  constexpr int T = kAccumulators / V;
  const Index inputs = in_shape.channels, outputs = out_shape.channels;
  const Index positions = in_shape.rows * in_shape.columns / kGroup;
  const Index together = std::min(std::max<Index>(1, kBandPixels / positions), end - begin);
  std::vector<Combined> in(together, Combined(in_shape)), out(together, Combined(out_shape));
  for (Index start = begin; start < end; start += together) {
    const Index count = std::min(together, end - start);
    for (Index image = 0; image < count; ++image) {
      in[image].LoadInput(images + (start + image) * in_shape.size());
      out[image].LoadCotangent(cotangent + (start + image) * out_shape.size());
    }
    float* target = total;
    for (Index product = 0; product < kProducts; ++product) {
      for (Index row = -1; row <= 1; ++row) {
        for (Index input = 0; input < inputs; input += T, target += T * outputs) {
          for (Index first = 0; first < outputs; first += V * kLanes) {
            Tile<T, V> tile;
            for (Index image = 0; image < count; ++image) {
              tile.template Add<1>(in[image].Row(product, input / kLanes, row) + input % kLanes, kLanes,
                                   out[image].Row(product, first / kLanes, 0), out[image].plane(), kLanes, positions);
            }
            for (int t = 0; t < T; ++t) {
              for (int v = 0; v < V; ++v) AsVector(target + t * outputs + first + v * kLanes) += tile.sum[t][v];
            }
          }
        }
      }
    }
  }
}

inline void WinogradWeightGradient(const Threads& threads, const float* images, const Shape& in_shape,
                                   const float* cotangent, const Shape& out_shape, const Kernel& kernel,
                                   float* gradient) {
  const Index size = kernel.inputs * kernel.outputs;
  const auto add = Blocks(kernel.outputs) % 2 == 0 ? AddWinogradGradient<2> : AddWinogradGradient<1>;
  const auto total = SumOverImages(
      threads, in_shape.images, kProducts * 3 * size,
      [&](Index begin, Index end, float* part) { add(images, in_shape, cotangent, out_shape, begin, end, part); });
  for (Index row = 0; row < 3; ++row) {
    for (Index column = 0; column < 3; ++column) {
      for (Index index = 0; index < size; ++index) {
        float sum = 0;
        for (Index product = 0; product < kProducts; ++product) {
          sum += kWeights[product][column] * total[(product * 3 + row) * size + index];
        }
        *gradient++ = sum;
      }
    }
  }
}
