// Winograd's convolution F(4x4, 3x3) and both gradients (Lavin and Gray, 2016, arXiv:1509.09308).
//
// A square of 4x4 output pixels needs 36 products where the definition has 144: those of 6x6 combinations of the 6x6
// input pixels that it sees and 6x6 combinations of the 3x3 weights, one by one. Combinations are a linear map along
// the rows, and the same along the columns.

#pragma once

#include "tiles.h"

constexpr Index kSquare = 4, kSide = 6, kProducts = kSide * kSide;
constexpr Index kBatch = 32;   // squares whose products are taken before they are separated
constexpr Index kBand = 128;   // squares that a weight gradient sums in registers before it adds to memory
constexpr Index kPadding = 1;  // vectors between products: cache lines a power of two apart would evict one another

// All maps follow from the interpolation points 0, a, -a, 2 a, -2 a and infinity: of a = sqrt(1/2) the mean rounding
// error is about half of what it is of the usual a = 1.
constexpr float kRoot = 0.70710678118654752f;
constexpr float kWeights[kSide][3] = {{1, 0, 0},
                                      {-2 / 3.f, -2 / 3.f * kRoot, -1 / 3.f},
                                      {-2 / 3.f, 2 / 3.f * kRoot, -1 / 3.f},
                                      {1 / 6.f, 1 / 3.f * kRoot, 1 / 3.f},
                                      {1 / 6.f, -1 / 3.f * kRoot, 1 / 3.f},
                                      {0, 0, 1}};

inline bool HasWinograd(const Shape& images, const Kernel& kernel, const Placement& place) {
  return kernel.rows == 3 && kernel.columns == 3 && place.stride == 1 && images.rows % kSquare == 0 &&
         images.columns % kSquare == 0 && kernel.inputs % kLanes == 0 && kernel.outputs % kLanes == 0;
}

// Of 6 input pixels.
struct CombineInputs {
  static constexpr int kFrom = 6, kTo = 6;
  static void Map(const Vector (&in)[6], Vector (&out)[6]) {
    const Vector even = in[4] - 2 * in[2], odd = kRoot * (in[3] - 2 * in[1]);
    const Vector far = in[4] - 0.5f * in[2], near = kRoot * (2 * in[3] - in[1]);
    out[0] = in[0] - 2.5f * in[2] + in[4];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = far + near;
    out[4] = far - near;
    out[5] = in[1] - 2.5f * in[3] + in[5];
  }
};

// The 4 output pixels from their products.
struct Separate {
  static constexpr int kFrom = 6, kTo = 4;
  static void Map(const Vector (&in)[6], Vector (&out)[4]) {
    const Vector even = in[1] + in[2], odd = in[1] - in[2], far = in[3] + in[4], near = in[3] - in[4];
    out[0] = in[0] + even + far;
    out[1] = kRoot * (odd + 2 * near);
    out[2] = 0.5f * even + 2 * far;
    out[3] = kRoot * (0.5f * odd + 4 * near) + in[5];
  }
};

// Of a cotangent's 4 pixels: the transpose of `Separate`.
struct CombineCotangents {
  static constexpr int kFrom = 4, kTo = 6;
  static void Map(const Vector (&in)[4], Vector (&out)[6]) {
    const Vector even = in[0] + 0.5f * in[2], odd = kRoot * (in[1] + 0.5f * in[3]);
    const Vector far = in[0] + 2 * in[2], near = kRoot * (2 * in[1] + 4 * in[3]);
    out[0] = in[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = far + near;
    out[4] = far - near;
    out[5] = in[3];
  }
};

// Of 3 weights.
struct CombineWeights {
  static constexpr int kFrom = 3, kTo = 6;
  static void Map(const Vector (&in)[3], Vector (&out)[6]) {
    for (int i = 0; i < 6; ++i) out[i] = kWeights[i][0] * in[0] + kWeights[i][1] * in[1] + kWeights[i][2] * in[2];
  }
};

// The gradient in 3 weights from that in their combinations: the transpose of `CombineWeights`.
struct SeparateWeights {
  static constexpr int kFrom = 6, kTo = 3;
  static void Map(const Vector (&in)[6], Vector (&out)[3]) {
    for (int j = 0; j < 3; ++j) {
      out[j] = Vector{};
      for (int i = 0; i < 6; ++i) out[j] += kWeights[i][j] * in[i];
    }
  }
};

// Maps each line, and turns lines into columns.
template <typename Combination, int Lines>
inline void AlongLines(const Vector (&in)[Lines][Combination::kFrom], Vector (&out)[Combination::kTo][Lines]) {
#pragma GCC unroll 6
  for (int line = 0; line < Lines; ++line) {
    Vector combined[Combination::kTo];
    Combination::Map(in[line], combined);
#pragma GCC unroll 6
    for (int index = 0; index < Combination::kTo; ++index) out[index][line] = combined[index];
  }
}

template <typename Combination>
inline void AlongBoth(const Vector (&in)[Combination::kFrom][Combination::kFrom],
                      Vector (&out)[Combination::kTo][Combination::kTo]) {
  Vector half[Combination::kTo][Combination::kFrom];
  AlongLines<Combination>(in, half);
  AlongLines<Combination>(half, out);
}

inline Index Squares(const Shape& shape) { return shape.rows * shape.columns / (kSquare * kSquare); }

// The combinations of some squares of images, [product][block][square][lane].
class Combined {
 public:
  Combined(const Shape& shape, Index squares)
      : shape_(shape),
        plane_(squares),
        distance_(Blocks(shape.channels) * squares + kPadding),
        zeros_(shape.channels),
        values_(kProducts * distance_) {}

  // Of squares [first, last), counted through all images.
  template <typename Combination>
  void Load(const float* images, Index first, Index last) {
    constexpr Index kPixels = Combination::kFrom, kBefore = (kPixels - kSquare) / 2;
    const Index columns = shape_.columns / kSquare, squares = Squares(shape_), blocks = Blocks(shape_.channels);
    for (Index square = first; square < last; ++square) {
      const float* image = images + square / squares * shape_.size();
      const Index top = square % squares / columns * kSquare - kBefore;
      const Index left = square % columns * kSquare - kBefore;
      const float* at[kPixels][kPixels];
      for (Index i = 0; i < kPixels; ++i) {
        for (Index j = 0; j < kPixels; ++j) {
          const Index row = top + i, column = left + j;
          const bool inside = 0 <= row && row < shape_.rows && 0 <= column && column < shape_.columns;
          at[i][j] = inside ? image + (row * shape_.columns + column) * shape_.channels : zeros_.data();
        }
      }
      for (Index block = 0; block < blocks; ++block) {
        Vector pixels[kPixels][kPixels], combined[kSide][kSide];
        for (Index i = 0; i < kPixels; ++i) {
          for (Index j = 0; j < kPixels; ++j) pixels[i][j] = AsVector(at[i][j] + block * kLanes);
        }
        AlongBoth<Combination>(pixels, combined);
        Vector* target = &values_[block * plane_ + square - first];
        for (Index i = 0; i < kSide; ++i) {
          for (Index j = 0; j < kSide; ++j) target[(i * kSide + j) * distance_] = combined[i][j];
        }
      }
    }
  }

  const float* At(Index product, Index block, Index square = 0) const {
    return Floats(&values_[product * distance_ + block * plane_ + square]);
  }
  Index plane() const { return plane_ * kLanes; }

 private:
  Shape shape_;
  Index plane_, distance_;
  std::vector<float> zeros_;
  std::vector<Vector> values_;
};

// One product of T squares and V vectors of output channels, with `weights` of [input][vector]. Kept out of line:
// inlined into the loops around it, compilers run out of registers.
template <int T, int V>
__attribute__((noinline)) void Multiply(const float* scalars, Index plane, Index blocks, const Vector* weights,
                                        Vector* target) {
  Tile<T, V> tile;
  for (Index block = 0; block < blocks; ++block, scalars += plane, weights += kLanes * V) {
    tile.template Add<kLanes>(scalars, 1, Floats(weights), kLanes, V * kLanes, kLanes);
  }
#pragma GCC unroll 16
  for (int index = 0; index < T * V; ++index) target[index] = tile.sum[index / V][index % V];
}

// Of images [begin, end), with weights of [product][panel of V vectors][input][vector].
template <int V>
void WinogradImages(const float* in, const Shape& in_shape, const std::vector<Vector>& weights, float* out,
                    const Shape& out_shape, Index begin, Index end) {
  constexpr Index T = kAccumulators / V, kDistance = kBatch * V + kPadding;
  const Index inputs = in_shape.channels, outputs = out_shape.channels, panels = Blocks(outputs) / V;
  const Index squares = Squares(in_shape), columns = in_shape.columns / kSquare;
  Combined combined(in_shape, kBatch);
  std::vector<Vector> products(kProducts * kDistance);
  for (Index first = begin * squares; first < end * squares; first += kBatch) {
    const Index count = std::min(kBatch, end * squares - first);
    combined.Load<CombineInputs>(in, first, first + count);
    for (Index panel = 0; panel < panels; ++panel) {
      for (Index product = 0; product < kProducts; ++product) {
        const Vector* factors = &weights[(product * panels + panel) * inputs * V];
        for (Index square = 0; square < count; square += T) {
          Multiply<T, V>(combined.At(product, 0, square), combined.plane(), Blocks(inputs), factors,
                         &products[product * kDistance + square * V]);
        }
      }
      for (Index square = first; square < first + count; ++square) {
        const Index row = square % squares / columns * kSquare, column = square % columns * kSquare;
        float* corner = out + square / squares * out_shape.size() +
                        (row * out_shape.columns + column) * outputs + panel * V * kLanes;
        for (int v = 0; v < V; ++v, corner += kLanes) {
          Vector taken[kSide][kSide], pixels[kSquare][kSquare];
          const Vector* source = &products[(square - first) * V + v];
          for (Index i = 0; i < kSide; ++i) {
            for (Index j = 0; j < kSide; ++j) taken[i][j] = source[(i * kSide + j) * kDistance];
          }
          AlongBoth<Separate>(taken, pixels);
          for (Index i = 0; i < kSquare; ++i) {
            for (Index j = 0; j < kSquare; ++j) {
              AsVector(corner + (i * out_shape.columns + j) * outputs) = pixels[i][j];
            }
          }
        }
      }
    }
  }
}

// With weights [row][column][in][out].
template <int V>
void WinogradPanels(const Threads& threads, const float* in, const Shape& in_shape, const float* weights, float* out,
                    const Shape& out_shape) {
  const Index inputs = in_shape.channels, outputs = out_shape.channels, panels = Blocks(outputs) / V;
  std::vector<Vector> combined(kProducts * inputs * Blocks(outputs));
  ForRanges(threads, inputs, [&](Index begin, Index end) {
    for (Index input = begin; input < end; ++input) {
      for (Index block = 0; block < Blocks(outputs); ++block) {
        Vector taps[3][3], factors[kSide][kSide];
        for (Index tap = 0; tap < 9; ++tap) {
          taps[tap / 3][tap % 3] = AsVector(weights + (tap * inputs + input) * outputs + block * kLanes);
        }
        AlongBoth<CombineWeights>(taps, factors);
        for (Index product = 0; product < kProducts; ++product) {
          combined[((product * panels + block / V) * inputs + input) * V + block % V] =
              factors[product / kSide][product % kSide];
        }
      }
    }
  });
  ForRanges(threads, in_shape.images, [&](Index begin, Index end) {
    WinogradImages<V>(in, in_shape, combined, out, out_shape, begin, end);
  });
}

inline void WinogradConvolution(const Threads& threads, const float* in, const Shape& in_shape, const float* weights,
                                float* out, const Shape& out_shape) {
  const Index blocks = Blocks(out_shape.channels);
  const auto convolve = blocks % 4 == 0 ? WinogradPanels<4> : blocks % 2 == 0 ? WinogradPanels<2> : WinogradPanels<1>;
  convolve(threads, in, in_shape, weights, out, out_shape);
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

// Adds the gradient of images [begin, end) in the combined weights, [product][input][output], to `total`.
template <int V>
void AddWinogradGradient(const float* images, const Shape& in_shape, const float* cotangent, const Shape& out_shape,
                         Index begin, Index end, float* total) {
  constexpr int T = kAccumulators / V;
  const Index inputs = in_shape.channels, outputs = out_shape.channels, squares = Squares(in_shape);
  Combined in(in_shape, kBand), out(out_shape, kBand);
  for (Index start = begin * squares; start < end * squares; start += kBand) {
    const Index count = std::min(kBand, end * squares - start);
    in.Load<CombineInputs>(images, start, start + count);
    out.Load<CombineCotangents>(cotangent, start, start + count);
    float* target = total;
    for (Index product = 0; product < kProducts; ++product) {
      for (Index input = 0; input < inputs; input += T, target += T * outputs) {
        for (Index first = 0; first < outputs; first += V * kLanes) {
          Tile<T, V> tile;
          tile.template Add<1>(in.At(product, input / kLanes) + input % kLanes, kLanes,
                               out.At(product, first / kLanes), out.plane(), kLanes, count);
#pragma GCC unroll 16
          for (int index = 0; index < T * V; ++index) {
            AsVector(target + index / V * outputs + first + index % V * kLanes) += tile.sum[index / V][index % V];
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
      threads, in_shape.images, kProducts * size,
      [&](Index begin, Index end, float* part) { add(images, in_shape, cotangent, out_shape, begin, end, part); });
  ForRanges(threads, size / kLanes, [&](Index begin, Index end) {
    for (Index index = begin * kLanes; index < end * kLanes; index += kLanes) {
      Vector factors[kSide][kSide], taps[3][3];
      for (Index product = 0; product < kProducts; ++product) {
        factors[product / kSide][product % kSide] = AsVector(total.data() + product * size + index);
      }
      AlongBoth<SeparateWeights>(factors, taps);
      for (Index tap = 0; tap < 9; ++tap) AsVector(gradient + tap * size + index) = taps[tap / 3][tap % 3];
    }
  });
}
