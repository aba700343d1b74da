// Registers GenerationTable: the stamps that hold while a tier's link is up.
#pragma once

namespace pybind11 {
class module_;
}

namespace millpond::bindings {

void bind_generations(pybind11::module_& m);

}  // namespace millpond::bindings
