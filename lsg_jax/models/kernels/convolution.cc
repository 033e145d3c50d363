// A 2-D convolution and its two gradients in float32, called by XLA on a CPU.

#include "direct.h"
#include "stack.h"
#include "winograd.h"

namespace {

ffi::Error Convolution(ffi::ThreadPool pool, Array images, Array weights, Result out, Index stride, Index top,
                       Index left) {
  const Stack in(images, images.dimensions()), weight(weights, weights.dimensions()), to(*out, out->dimensions());
  const Shape in_shape(in.last()), out_shape(to.last());
  const Kernel kernel(weight.last());
  const Placement place{stride, top, left};
  const bool winograd = HasWinograd(in_shape, kernel, place);
  return ForEach(pool, to.count(), [&](const Threads& threads, Index index) {
    if (winograd) {
      WinogradConvolution(threads, in[index], in_shape, weight[index], to[index], out_shape);
    } else {
      DirectConvolution(threads, in[index], in_shape, weight[index], kernel, place, to[index], out_shape);
    }
  });
}

ffi::Error InputGradient(ffi::ThreadPool pool, Array cotangent, Array weights, Result gradient, Index stride,
                         Index top, Index left) {
  const Stack out(cotangent, cotangent.dimensions()), weight(weights, weights.dimensions());
  const Stack to(*gradient, gradient->dimensions());
  const Shape in_shape(to.last()), out_shape(out.last());
  const Kernel kernel(weight.last());
  const Placement place{stride, top, left};
  const bool winograd = HasWinograd(in_shape, kernel, place);
  return ForEach(pool, to.count(), [&](const Threads& threads, Index index) {
    if (winograd) {
      WinogradInputGradient(threads, out[index], out_shape, weight[index], kernel, to[index], in_shape);
    } else {
      DirectInputGradient(threads, out[index], out_shape, weight[index], kernel, place, to[index], in_shape);
    }
  });
}

ffi::Error WeightGradient(ffi::ThreadPool pool, Array images, Array cotangent, Result gradient, Index stride,
                          Index top, Index left) {
  const Stack in(images, images.dimensions()), out(cotangent, cotangent.dimensions());
  const Stack to(*gradient, gradient->dimensions());
  const Shape in_shape(in.last()), out_shape(out.last());
  const Kernel kernel(to.last());
  const Placement place{stride, top, left};
  const bool winograd = HasWinograd(in_shape, kernel, place);
  return ForEach(pool, to.count(), [&](const Threads& threads, Index index) {
    if (winograd) {
      WinogradWeightGradient(threads, in[index], in_shape, out[index], out_shape, kernel, to[index]);
    } else {
      DirectWeightGradient(threads, in[index], in_shape, out[index], out_shape, kernel, place, to[index]);
    }
  });
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
