// A 2-D convolution and its two gradients in float32, called by XLA on a CPU.

#include "direct.h"
#include "winograd.h"

namespace {

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

// Arrays of four axes, and before them those that `vmap` added: so many convolutions, one after another.
class Stack {
 public:
  explicit Stack(ffi::Span<const Index> dimensions) : last_(dimensions.end() - 4, 4) {
    for (auto size = dimensions.begin(); size != last_.begin(); ++size) count_ *= *size;
  }
  ffi::Span<const Index> last() const { return last_; }
  Index count() const { return count_; }
  Index size() const { return last_[0] * last_[1] * last_[2] * last_[3]; }

 private:
  ffi::Span<const Index> last_;
  Index count_ = 1;
};

ffi::Error Convolution(ffi::ThreadPool pool, Array images, Array weights, Result out, Index stride, Index top,
                       Index left) {
  const Stack in_stack(images.dimensions()), weight_stack(weights.dimensions()), out_stack(out->dimensions());
  const Shape in_shape(in_stack.last()), out_shape(out_stack.last());
  const Kernel kernel(weight_stack.last());
  const Placement place{stride, top, left};
  for (Index index = 0; index < out_stack.count(); ++index) {
    const float *in = images.typed_data() + index * in_stack.size();
    const float *weight = weights.typed_data() + index * weight_stack.size();
    float* target = out->typed_data() + index * out_stack.size();
    if (HasWinograd(in_shape, kernel, place)) {
      WinogradConvolution(pool, in, in_shape, weight, kernel, target, out_shape);
    } else {
      DirectConvolution(pool, in, in_shape, weight, kernel, place, target, out_shape);
    }
  }
  return ffi::Error::Success();
}

ffi::Error InputGradient(ffi::ThreadPool pool, Array cotangent, Array weights, Result gradient, Index stride,
                         Index top, Index left) {
  const Stack in_stack(gradient->dimensions()), weight_stack(weights.dimensions()), out_stack(cotangent.dimensions());
  const Shape in_shape(in_stack.last()), out_shape(out_stack.last());
  const Kernel kernel(weight_stack.last());
  const Placement place{stride, top, left};
  for (Index index = 0; index < in_stack.count(); ++index) {
    const float *out = cotangent.typed_data() + index * out_stack.size();
    const float *weight = weights.typed_data() + index * weight_stack.size();
    float* target = gradient->typed_data() + index * in_stack.size();
    if (HasWinograd(in_shape, kernel, place)) {
      WinogradInputGradient(pool, out, out_shape, weight, kernel, target, in_shape);
    } else {
      DirectInputGradient(pool, out, out_shape, weight, kernel, place, target, in_shape);
    }
  }
  return ffi::Error::Success();
}

ffi::Error WeightGradient(ffi::ThreadPool pool, Array images, Array cotangent, Result gradient, Index stride,
                          Index top, Index left) {
  const Stack in_stack(images.dimensions()), weight_stack(gradient->dimensions()), out_stack(cotangent.dimensions());
  const Shape in_shape(in_stack.last()), out_shape(out_stack.last());
  const Kernel kernel(weight_stack.last());
  const Placement place{stride, top, left};
  for (Index index = 0; index < weight_stack.count(); ++index) {
    const float *in = images.typed_data() + index * in_stack.size();
    const float *out = cotangent.typed_data() + index * out_stack.size();
    float* target = gradient->typed_data() + index * weight_stack.size();
    if (HasWinograd(in_shape, kernel, place)) {
      WinogradWeightGradient(pool, in, in_shape, out, out_shape, kernel, target);
    } else {
      DirectWeightGradient(pool, in, in_shape, out, out_shape, kernel, place, target);
    }
  }
  return ffi::Error::Success();
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Array>()
      .Arg<Array>()
      .Ret<Array>()
      .Attr<Index>("stride")
      .Attr<Index>("top")
      .Attr<Index>("left");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(lsg_convolution, Convolution, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(lsg_input_gradient, InputGradient, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(lsg_weight_gradient, WeightGradient, Binding());
