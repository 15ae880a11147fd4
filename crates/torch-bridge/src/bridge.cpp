// The C++ side of the door. Every function catches what libtorch throws and returns it as a C
// string that the caller frees (null: all went well), for an exception must not cross into Rust.

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mkldnn_reorder_conv2d_weight.h>
#include <ATen/ops/stack.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>

#include <array>
#include <cstring>
#include <exception>
#include <optional>
#include <string_view>
#include <vector>

namespace {

using Handles = at::Tensor *const *;
using List = std::vector<at::Tensor>;

template <typename Body> char *guarded(Body body) {
  try {
    at::NoGradGuard no_grad;
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an exception of unknown type");
  }
}

List list(Handles handles, size_t n) {
  List tensors;
  tensors.reserve(n);
  for (size_t i = 0; i < n; ++i) tensors.push_back(*handles[i]);
  return tensors;
}

// The fused kernels walk raw memory, so two tensors of one shape must also lie in memory alike.
List laid_out_like(const List &model, List tensors) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    TORCH_CHECK(tensors[i].sizes().equals(model[i].sizes()), "shapes differ: ", model[i].sizes(),
                " and ", tensors[i].sizes());
    if (!tensors[i].strides().equals(model[i].strides()))
      tensors[i] = at::empty_like(model[i]).copy_(tensors[i]);
  }
  return tensors;
}

// State is written, so it cannot be copied into shape.
List state_like(const List &model, Handles handles, size_t n) {
  List state = list(handles, n);
  for (size_t i = 0; i < n; ++i)
    TORCH_CHECK(state[i].strides().equals(model[i].strides()) &&
                    state[i].sizes().equals(model[i].sizes()),
                "optimizer state lies in memory as ", state[i].sizes(), " / ", state[i].strides(),
                ", the parameter as ", model[i].sizes(), " / ", model[i].strides());
  return state;
}

using Scalars = c10::List<std::optional<at::Scalar>>;
using Words = std::optional<std::string_view>;
using MaybeTensor = std::optional<at::Tensor>;

// Operators that libtorch registers and declares in no header: they are asked for by name and signature.
template <typename Signature> auto operator_named(const char *name, const char *overload) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

MaybeTensor maybe(const at::Tensor *tensor) {
  return tensor ? MaybeTensor(*tensor) : std::nullopt;
}

} // namespace

extern "C" {

struct BridgeAutocast {
  bool enabled;
  bool cached;
  int kind;
};

char *bridge_autocast_enter(bool cuda, int kind, BridgeAutocast *before) {
  return guarded([&] {
    const auto device = cuda ? at::kCUDA : at::kCPU;
    *before = {at::autocast::is_autocast_enabled(device), at::autocast::is_autocast_cache_enabled(),
               static_cast<int>(at::autocast::get_autocast_dtype(device))};
    at::autocast::set_autocast_enabled(device, kind >= 0);
    if (kind >= 0) at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(kind));
    at::autocast::set_autocast_cache_enabled(true);
    at::autocast::increment_nesting();
  });
}

char *bridge_autocast_leave(bool cuda, const BridgeAutocast *before) {
  return guarded([&] {
    const auto device = cuda ? at::kCUDA : at::kCPU;
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device, before->enabled);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(before->kind));
    at::autocast::set_autocast_cache_enabled(before->cached);
  });
}

char *bridge_fused_adamw(Handles params, Handles grads, Handles means, Handles squares,
                         Handles steps, size_t n, double lr, double beta1, double beta2,
                         double weight_decay, double eps) {
  return guarded([&] {
    const List p = list(params, n), step = list(steps, n);
    at::_foreach_add_(step, 1);
    at::_fused_adamw_(p, laid_out_like(p, list(grads, n)), state_like(p, means, n),
                      state_like(p, squares, n), List(), step, lr, beta1, beta2, weight_decay, eps,
                      /*amsgrad=*/false, /*maximize=*/false);
  });
}

char *bridge_fused_sgd(Handles params, Handles grads, Handles velocities, size_t n, double lr,
                       double momentum, double weight_decay, bool nesterov) {
  return guarded([&] {
    const List p = list(params, n);
    // libtorch wants no buffers where there is no momentum.
    const List b = momentum > 0 ? state_like(p, velocities, n) : List();
    at::_fused_sgd_(p, laid_out_like(p, list(grads, n)), b, weight_decay, momentum, lr,
                    /*dampening=*/0., nesterov, /*maximize=*/false, /*is_first_step=*/false);
  });
}

char *bridge_norms(Handles tensors, size_t n, at::Tensor *out) {
  return guarded([&] { *out = at::stack(at::_foreach_norm(list(tensors, n))); });
}

char *bridge_add(Handles tensors, Handles others, size_t n, double alpha) {
  return guarded([&] { at::_foreach_add_(list(tensors, n), list(others, n), alpha); });
}

char *bridge_scale(Handles tensors, size_t n, const at::Tensor *factors) {
  return guarded([&] {
    if (factors->dim() == 0)
      at::_foreach_mul_(list(tensors, n), *factors);
    else
      at::_foreach_mul_(list(tensors, n), factors->unbind(0));
  });
}

char *bridge_lerp(Handles tensors, Handles ends, size_t n, double weight) {
  return guarded([&] { at::_foreach_lerp_(list(tensors, n), list(ends, n), weight); });
}

char *bridge_clear_grads(Handles tensors, size_t n) {
  return guarded([&] {
    for (size_t i = 0; i < n; ++i) tensors[i]->mutable_grad() = at::Tensor();
  });
}

char *bridge_cuda_has_bf16(int index, bool *out) {
  return guarded([&] {
    const auto &hooks = at::detail::getCUDAHooks();
    *out = false;
    if (!hooks.hasCUDA()) return;
    c10::DeviceGuard guard(c10::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index)));
    // True from compute capability 8.0 on, which is where bf16 begins.
    *out = hooks.supportsBFloat16ConvolutionWithCuDNNv8();
  });
}

char *bridge_cuda_peak_bytes(int index, int64_t *out) {
  return guarded([&] {
    auto *allocator = c10::getDeviceAllocator(at::kCUDA);
    const auto total = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *out = 0;
    if (!allocator->initialized()) return;
    const auto stats = allocator->getDeviceStats(static_cast<c10::DeviceIndex>(index));
    *out = stats.allocated_bytes[total].peak;
  });
}

char *bridge_onednn(bool bf16, bool *out) {
  return guarded([&] {
    static const auto supported =
        operator_named<bool()>("mkldnn::_is_mkldnn_bf16_supported", "");
    *out = at::hasMKLDNN() && at::globalContext().userEnabledMkldnn() &&
           (!bf16 || supported.call());
  });
}

// A square kernel's stride and padding, and the groups of its channels.
struct BridgeConvolution {
  int64_t stride;
  int64_t padding;
  int64_t groups;
};

char *bridge_pack_convolution(const at::Tensor *weight, const BridgeConvolution *as,
                              const at::Tensor *images, at::Tensor *out) {
  return guarded([&] {
    const std::array<int64_t, 2> stride{as->stride, as->stride}, dilation{1, 1};
    const std::array<int64_t, 2> padding{as->padding, as->padding};
    *out = at::mkldnn_reorder_conv2d_weight(weight->to_mkldnn(), padding, stride, dilation,
                                            as->groups, images->sizes());
  });
}

// relu(convolution(images)), or relu(convolution(images) + sum) where there is a sum, which may be overwritten.
char *bridge_convolution(const at::Tensor *images, const at::Tensor *weight,
                         const at::Tensor *bias, const BridgeConvolution *as, bool relu,
                         const at::Tensor *sum, at::Tensor *out) {
  return guarded([&] {
    using Plain = at::Tensor(const at::Tensor &, const at::Tensor &, const MaybeTensor &,
                             at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, int64_t,
                             std::string_view, Scalars, Words);
    using Adding = at::Tensor &(at::Tensor &, const at::Tensor &, const at::Tensor &,
                                const MaybeTensor &, at::IntArrayRef, at::IntArrayRef,
                                at::IntArrayRef, int64_t, std::string_view,
                                std::optional<at::Scalar>, Words, Scalars, Words);
    static const auto plain = operator_named<Plain>("mkldnn::_convolution_pointwise", "");
    static const auto adding = operator_named<Adding>("mkldnn::_convolution_pointwise_", "binary");
    const std::array<int64_t, 2> stride{as->stride, as->stride}, dilation{1, 1};
    const std::array<int64_t, 2> padding{as->padding, as->padding};
    // Other orders are computed without what follows fused.
    const at::Tensor x = images->contiguous(at::MemoryFormat::ChannelsLast);
    if (!sum) {
      *out = plain.call(x, *weight, maybe(bias), padding, stride, dilation, as->groups,
                        relu ? "relu" : "none", Scalars(), "");
      return;
    }
    at::Tensor result = sum->contiguous(at::MemoryFormat::ChannelsLast);
    *out = adding.call(result, x, *weight, maybe(bias), padding, stride, dilation,
                       as->groups, "add", 1, relu ? Words("relu") : std::nullopt, Scalars(), "");
  });
}

char *bridge_pack_linear(const at::Tensor *weight, int64_t rows, at::Tensor *out) {
  return guarded([&] {
    using Signature = at::Tensor(const at::Tensor &, std::optional<int64_t>);
    static const auto pack = operator_named<Signature>("mkldnn::_reorder_linear_weight", "");
    *out = pack.call(*weight, rows);
  });
}

// The product with what follows it: "none", or "gelu" in the form "none" or "tanh".
char *bridge_linear(const at::Tensor *rows, const at::Tensor *weight, const at::Tensor *bias,
                    const char *attribute, const char *form, at::Tensor *out) {
  return guarded([&] {
    using Signature = at::Tensor(const at::Tensor &, const at::Tensor &, const MaybeTensor &,
                                 std::string_view, Scalars, Words);
    static const auto linear = operator_named<Signature>("mkldnn::_linear_pointwise", "");
    *out = linear.call(*rows, *weight, maybe(bias), attribute, Scalars(), form);
  });
}
}
