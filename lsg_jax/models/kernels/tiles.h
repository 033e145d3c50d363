// What every kernel is made of: images and kernels as XLA gives them, tiles of accumulators in registers, and threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

using Index = int64_t;

#if defined(__AVX512F__)
constexpr Index kLanes = 16, kAccumulators = 16;
#else
constexpr Index kLanes = 8, kAccumulators = 8;
#endif
constexpr Index kWorthAThread = Index{1} << 16;  // floats that take a thread longer to add than to start
constexpr Index kMostSums = Index{1} << 26;  // floats that threads may sum in, each on its own, at once

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef Vector VectorInMemory __attribute__((aligned(4), may_alias));

inline const float* Floats(const Vector* vectors) { return reinterpret_cast<const float*>(vectors); }
inline VectorInMemory& AsVector(float* values) { return *reinterpret_cast<VectorInMemory*>(values); }
inline Vector AsVector(const float* values) { return *reinterpret_cast<const VectorInMemory*>(values); }

// Keeps a vector in its register, where compilers would rather load it again for each of its products.
inline void Keep(Vector& vector) {
#if defined(__AVX__)
  asm("" : "+v"(vector));
#endif
}

inline Index Blocks(Index channels) { return (channels + kLanes - 1) / kLanes; }

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

// Output pixel (i, j) sees the input from (stride i - top, stride j - left) on.
struct Placement {
  Index stride, top, left;
};

template <int T, int V>
struct Tile {
  Vector sum[T][V];
  Tile() {
#pragma GCC unroll 16
    for (int index = 0; index < T * V; ++index) sum[index / V][index % V] = Vector{};
  }

  // sum[t][v] += scalar[t] * vector[v], `depth` times.
  template <Index kScalarDistance>
  inline __attribute__((always_inline)) void Add(const float* scalars, Index scalar_step, const float* vectors,
                                                 Index vector_distance, Index vector_step, Index depth) {
    for (; depth > 0; --depth, scalars += scalar_step, vectors += vector_step) {
      Vector vector[V];
      for (int v = 0; v < V; ++v) {
        vector[v] = AsVector(vectors + v * vector_distance);
        Keep(vector[v]);
      }
      for (int t = 0; t < T; ++t) {
        for (int v = 0; v < V; ++v) sum[t][v] += scalars[t * kScalarDistance] * vector[v];
      }
    }
  }
};

// The threads that may work on something: `count` of a pool or, where that is 1, the caller alone.
struct Threads {
  ffi::ThreadPool* pool;
  Index count;
};

// Runs task(0) to task(tasks - 1), and rethrows what one of them threw. The caller works too, so a pool that is busy
// elsewhere cannot block it.
inline void Parallel(const Threads& threads, Index tasks, const std::function<void(Index)>& task) {
  struct Progress {
    std::atomic<Index> next{0};
    Index finished = 0;
    std::exception_ptr thrown;
    std::mutex mutex;
    std::condition_variable all_finished;
  };
  auto progress = std::make_shared<Progress>();  // a helper may start only after all is done and the caller gone
  std::function<void()> work = [progress, tasks, &task] {
    for (Index index; (index = progress->next++) < tasks;) {
      std::exception_ptr thrown;
      try {
        task(index);
      } catch (...) {
        thrown = std::current_exception();
      }
      std::lock_guard<std::mutex> lock(progress->mutex);
      if (thrown) progress->thrown = thrown;
      if (++progress->finished == tasks) progress->all_finished.notify_all();
    }
  };
  for (Index helper = 1; helper < std::min(threads.count, tasks); ++helper) {
    threads.pool->Schedule(std::function<void()>(work));
  }
  work();
  std::unique_lock<std::mutex> lock(progress->mutex);
  progress->all_finished.wait(lock, [&] { return progress->finished == tasks; });
  if (progress->thrown) std::rethrow_exception(progress->thrown);
}

// Splits [0, size) into `ranges` and runs task(range, begin, end) for each.
template <typename Task>
void ParallelRanges(const Threads& threads, Index ranges, Index size, const Task& task) {
  Parallel(threads, ranges, [&](Index range) { task(range, range * size / ranges, (range + 1) * size / ranges); });
}

// Runs task(begin, end) for ranges of [0, size), a few a thread where there are several.
template <typename Task>
void ForRanges(const Threads& threads, Index size, const Task& task) {
  const Index ranges = threads.count == 1 ? 1 : std::min(size, 4 * threads.count);
  ParallelRanges(threads, ranges, size, [&](Index, Index begin, Index end) { task(begin, end); });
}

// Returns the sum of what add(begin, end, total) adds to `size` zeros for each range of `images`. They are split by the
// number of threads and `size` alone, and the parts summed in order, so that the sum repeats bit for bit.
template <typename Add>
std::vector<float> SumOverImages(const Threads& threads, Index images, Index size, const Add& add) {
  const Index ranges = std::min({images, threads.count, std::max<Index>(1, kMostSums / size)});
  std::vector<float> totals(ranges * size);
  ParallelRanges(threads, ranges, images,
                 [&](Index range, Index begin, Index end) { add(begin, end, totals.data() + range * size); });
  ParallelRanges(threads, std::min(threads.count, 1 + size / kWorthAThread), size, [&](Index, Index begin, Index end) {
    for (Index range = 1; range < ranges; ++range) {
      for (Index index = begin; index < end; ++index) totals[index] += totals[range * size + index];
    }
  });
  totals.resize(size);
  return totals;
}
