// The C++ side of the door. Every function catches what libtorch throws and returns it as a C
// string that the caller frees (null: all went well), for an exception must not cross into Rust.

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>

#include <cstring>
#include <exception>
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
}
