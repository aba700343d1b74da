// Binds the default weigher and the gate in front of the cache: _engine.weigh, is_cacheable and
// check_cacheable.
#pragma once

namespace pybind11 {
class module_;
}

namespace millpond::bindings {

void bind_weigher(pybind11::module_& m);

}  // namespace millpond::bindings
