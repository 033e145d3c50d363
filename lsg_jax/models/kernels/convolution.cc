// A 2-D convolution and its two gradients in float32, called by XLA on a CPU.

#include "direct.h"
#include "winograd.h"

namespace {

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

ffi::Error Convolution(ffi::ThreadPool pool, Array images, Array weights, Result out, Index stride, Index top,
                       Index left) {
  const Shape in_shape(images.dimensions()), out_shape(out->dimensions());
  const Kernel kernel(weights.dimensions());
  const Placement place{stride, top, left};
  const float *in = images.typed_data(), *weight = weights.typed_data();
  if (HasWinograd(in_shape, kernel, place)) {
    WinogradConvolution(pool, in, in_shape, weight, kernel, out->typed_data(), out_shape);
  } else {
    DirectConvolution(pool, in, in_shape, weight, kernel, place, out->typed_data(), out_shape);
  }
  return ffi::Error::Success();
}

ffi::Error InputGradient(ffi::ThreadPool pool, Array cotangent, Array weights, Result gradient, Index stride,
                         Index top, Index left) {
  const Shape in_shape(gradient->dimensions()), out_shape(cotangent.dimensions());
  const Kernel kernel(weights.dimensions());
  const Placement place{stride, top, left};
  const float *out = cotangent.typed_data(), *weight = weights.typed_data();
  if (HasWinograd(in_shape, kernel, place)) {
    WinogradInputGradient(pool, out, out_shape, weight, kernel, gradient->typed_data(), in_shape);
  } else {
    DirectInputGradient(pool, out, out_shape, weight, kernel, place, gradient->typed_data(), in_shape);
  }
  return ffi::Error::Success();
}

ffi::Error WeightGradient(ffi::ThreadPool pool, Array images, Array cotangent, Result gradient, Index stride,
                          Index top, Index left) {
  const Shape in_shape(images.dimensions()), out_shape(cotangent.dimensions());
  const Kernel kernel(gradient->dimensions());
  const Placement place{stride, top, left};
  const float *in = images.typed_data(), *out = cotangent.typed_data();
  if (HasWinograd(in_shape, kernel, place)) {
    WinogradWeightGradient(pool, in, in_shape, out, out_shape, kernel, gradient->typed_data());
  } else {
    DirectWeightGradient(pool, in, in_shape, out, out_shape, kernel, place, gradient->typed_data());
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
