// Arrays as XLA gives them, alone or, where `vmap` stacked them, many at once.

#pragma once

#include "tiles.h"

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

// An array of `axes` axes, or so many of them as the axes before, which `vmap` added, tell.
class Stack {
 public:
  template <typename Values>
  Stack(Values& values, ffi::Span<const Index> dimensions, Index axes = 4)
      : values_(values.typed_data()), last_(dimensions.end() - axes, axes), size_(1), count_(1) {
    for (const Index size : last_) size_ *= size;
    for (auto size = dimensions.begin(); size != last_.begin(); ++size) count_ *= *size;
  }
  float* operator[](Index index) const { return values_ + index * size_; }
  ffi::Span<const Index> last() const { return last_; }
  Index count() const { return count_; }

 private:
  float* values_;
  ffi::Span<const Index> last_;
  Index size_, count_;
};

// Runs task(threads, index) for each of `count` arrays: as many as can be shared out evenly with one thread each, which
// then waits for no other, and what remains one after another with all threads.
template <typename Task>
ffi::Error ForEach(ffi::ThreadPool& pool, Index count, const Task& task) {
  const Index size = std::max<Index>(1, pool.num_threads()), even = count / size * size;
  const Threads all{&pool, size, size}, one{&pool, 1, size};
  Parallel(all, even, [&](Index index) { task(one, index); });
  for (Index index = even; index < count; ++index) task(all, index);
  return ffi::Error::Success();
}
