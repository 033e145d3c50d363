// Arrays as XLA gives them, alone or, where `vmap` stacked them, many at once.

#pragma once

#include <new>

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

// Runs task(threads, index) for each of `count` arrays, one after another, with all threads; fails where memory does.
template <typename Task>
ffi::Error ForEach(ffi::ThreadPool& pool, Index count, const Task& task) {
  const Threads threads{&pool, std::max<Index>(1, pool.num_threads())};
  try {
    for (Index index = 0; index < count; ++index) task(threads, index);
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "out of memory in a convolution or a sum over channels");
  }
  return ffi::Error::Success();
}
