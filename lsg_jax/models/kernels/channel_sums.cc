// The sums over all pixels that batch normalisation needs, two in one reading.

#include "stack.h"

namespace {

// Adds the sums of a and of a b over pixels, `channels` apart, of V vectors of channels.
template <int V>
void Add(const float* a, const float* b, Index pixels, Index channels, float* sums, float* products) {
  Vector sum[V] = {}, product[V] = {};
  for (; pixels > 0; --pixels, a += channels, b += channels) {
    for (int v = 0; v < V; ++v) {
      const Vector value = AsVector(a + v * kLanes);
      sum[v] += value;
      product[v] += value * AsVector(b + v * kLanes);
    }
  }
  for (int v = 0; v < V; ++v) {
    AsVector(sums + v * kLanes) += sum[v];
    AsVector(products + v * kLanes) += product[v];
  }
}

void AddImage(const float* a, const float* b, Index pixels, Index channels, float* sums) {
  Index first = 0;
  float* products = sums + channels;
  const auto add = [&](auto vectors, const auto& kernel) {
    for (const Index width = vectors * kLanes; first + width <= channels; first += width) {
      kernel(a + first, b + first, pixels, channels, sums + first, products + first);
    }
  };
  add(4, Add<4>);
  add(2, Add<2>);
  add(1, Add<1>);
  for (; first < channels; ++first) {
    float sum = 0, product = 0;
    for (Index pixel = 0; pixel < pixels; ++pixel) {
      sum += a[pixel * channels + first];
      product += a[pixel * channels + first] * b[pixel * channels + first];
    }
    sums[first] += sum;
    products[first] += product;
  }
}

ffi::Error ChannelSums(ffi::ThreadPool pool, Array first, Array second, Result sums) {
  const Stack a(first, first.dimensions()), b(second, second.dimensions()), to(*sums, sums->dimensions(), 2);
  const Shape shape(a.last());
  return ForEach(pool, to.count(), [&](const Threads& threads, Index index) {
    const Index size = shape.size(), pixels = shape.rows * shape.columns;
    const auto total = SumOverImages(threads, shape.images, 2 * shape.channels, [&](Index begin, Index end, float* part) {
      for (Index image = begin; image < end; ++image) {
        AddImage(a[index] + image * size, b[index] + image * size, pixels, shape.channels, part);
      }
    });
    std::copy(total.begin(), total.end(), to[index]);
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(lsg_channel_sums, ChannelSums,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Ret<Array>());
