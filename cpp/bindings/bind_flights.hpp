// Registers what single-flight and `await` are made of: the awaitable types, the fork handler, and
// `_engine._testing`, through which the tests drive them with a plain dict as the store.
#pragma once

namespace pybind11 {
class module_;
}

namespace millpond::bindings {

// Called once, from module.cpp.
void bind_flights(pybind11::module_& m);

}  // namespace millpond::bindings
