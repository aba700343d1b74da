// The raw types of hot/: caches, cached functions and what belongs to them.
#pragma once

namespace pybind11 {
class module_;
}

namespace millpond::bindings {

void bind_cache(pybind11::module_& m);

}  // namespace millpond::bindings
